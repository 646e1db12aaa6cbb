"""Operations with backward passes of their own, against what JAX derives of their definitions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.model import operations
from tl_jax.model.operations import few_rows, gated, product, rms_norm

SHAPES = {"b": 2, "t": 7, "d": 12, "h": 3, "k": 4, "g": 3, "f": 5}


def drawn(*shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def agree(ours: Callable[..., jax.Array], definition: Callable[..., jax.Array], arrays: list[jax.Array]) -> None:
    for one, other in zip(
        (ours(*arrays), *jax.grad(lambda *a: jnp.sum(jnp.sin(ours(*a))), (0, 1))(*arrays)),
        (definition(*arrays), *jax.grad(lambda *a: jnp.sum(jnp.sin(definition(*a))), (0, 1))(*arrays)),
        strict=True,
    ):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "equation", ["btd,dhk->bthk", "btd,dgk->btgk", "bthk,hkd->btd", "btd,df->btf", "btf,fd->btd", "btd,dr->btr"]
)
def test_product(equation: str) -> None:
    shapes = [tuple({**SHAPES, "r": 2}[letter] for letter in part) for part in equation.split("->")[0].split(",")]
    agree(lambda x, w: product(equation, x, w), lambda x, w: jnp.einsum(equation, x, w), drawn(*shapes))


def test_gated() -> None:
    agree(gated, lambda gate, up: gate / (1 + jnp.exp(-gate)) * up, drawn((2, 7, 5), (2, 7, 5)))


@pytest.mark.parametrize("shape", [(12,), (3, 4)], ids=["one axis", "two axes"])
def test_rms_norm(shape: tuple[int, ...]) -> None:
    def definition(x: jax.Array, scale: jax.Array) -> jax.Array:
        axes = tuple(range(-scale.ndim, 0))
        return x / jnp.sqrt(jnp.mean(x**2, axis=axes, keepdims=True) + 1e-2) * scale

    agree(lambda x, scale: rms_norm(x, scale, 1e-2), definition, drawn((2, 7, *shape), shape))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what is asked of XLA on processors")
def test_xla_is_asked_for_float32_of_bfloat16() -> None:
    """Asked for bfloat16, it makes float32 of the whole matrix first."""
    x, matrix = jnp.ones((8, 64), jnp.bfloat16), jnp.ones((64, 96), jnp.bfloat16)
    text = jax.jit(partial(product, "bd,df->bf")).lower(x, matrix).as_text()
    assert "(tensor<8x64xbf16>, tensor<64x96xbf16>) -> tensor<8x96xf32>" in text


def test_products_of_bfloat16_are_rounded_once() -> None:
    rng = np.random.default_rng(5)
    x, matrix = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((8, 64), (64, 96)))
    exact = np.asarray(x, np.float64) @ np.asarray(matrix, np.float64)
    found = product("bd,df->bf", x, matrix)
    assert found.dtype == jnp.bfloat16
    assert (np.abs(np.asarray(found, np.float64) - exact) <= 2.0**-8 * np.abs(exact) + 1e-5).all()


@pytest.mark.parametrize(
    ("rows", "inner", "loop"), [(1, 32, False), (3, 32, True), (8, 32, True), (9, 32, False), (8, 24, False)]
)
def test_few_rows(rows: int, inner: int, loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "WIDE", 40)
    x, matrix = drawn((rows, inner), (inner, 40))
    exact = np.asarray(x, np.float64) @ np.asarray(matrix, np.float64)
    np.testing.assert_allclose(few_rows(x, matrix), exact, atol=1e-5)
    assert ("while" in jax.jit(few_rows).lower(x, matrix).as_text()) == (loop and jax.default_backend() == "cpu")


def test_few_rows_by_a_narrow_matrix_or_one_of_bfloat16_are_xlas() -> None:
    for dtype, width in ((jnp.float32, operations.WIDE - 1), (jnp.bfloat16, operations.WIDE)):
        shapes = jax.ShapeDtypeStruct((8, 16), dtype), jax.ShapeDtypeStruct((16, width), dtype)
        lowered = jax.jit(few_rows).lower(*shapes)
        assert "while" not in lowered.as_text()
        assert lowered.out_info.dtype == jnp.float32
