"""Rotary embeddings as TPUs and processors compute them: the same numbers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.helpers import TINY
from tl_jax.model import rotary
from tl_jax.model.rotary import rotary_frequencies, rotate, rotate_by_product, rotation


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_product_rotates_as_halves_do(dtype: jax.typing.DTypeLike) -> None:
    """To the bit, forward and backward; `tests/model/test_llama.py` compares halves with transformers."""
    angles = jnp.asarray([[0, 1, 2, 8191], [0, 5, 0, 1]], jnp.float32)[..., None, None] * jnp.asarray([1, 0.3, 1e-4])
    by = jnp.cos(angles), jnp.sin(angles)
    x, gradient = jax.random.normal(jax.random.key(0), (2, 2, 4, 5, 6)).astype(dtype)
    halves, back_by_halves = jax.vjp(lambda x: rotate(x, by), x)
    product, back_by_product = jax.vjp(lambda x: rotate_by_product(x, *by), x)
    assert product.dtype == dtype
    np.testing.assert_array_equal(product, halves)
    np.testing.assert_array_equal(back_by_product(gradient)[0], back_by_halves(gradient)[0])
    assert not np.array_equal(product, x)


def test_a_tpu_has_the_product_where_there_are_several_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotary, "platform", lambda: "tpu")
    for tokens, products in ((1, 0), (2, 1)):
        x, angles = jnp.ones((1, tokens, 1, 4)), jnp.ones((1, tokens, 1, 2))
        assert str(jax.make_jaxpr(rotate)(x, (angles, angles))).count("dot_general[") == products


def test_a_processor_computes_angles_once_for_all_heads_and_layers() -> None:
    """XLA would put sines and cosines into the loop of each rotation that reads them."""
    config = dataclasses.replace(TINY, head_dim=64)

    def turned(layers: jax.Array, positions: jax.Array) -> list[jax.Array]:
        by = rotation(config, positions)
        return [rotate(x, by) for x in layers]

    positions = jnp.asarray([[0, 1, 2, 8191], [5, 0, 70000, 1]])
    layers = jax.random.normal(jax.random.key(0), (3, 2, 4, 8, 64))
    program = jax.jit(turned).lower(layers, positions).compile()
    by_itself = [part for part in program.as_text().split("\n\n") if "cosine(" in part]
    assert len(by_itself) == 1
    assert "concatenate" not in by_itself[0]
    angles = positions[:, :, None, None].astype(jnp.float32) * rotary_frequencies(config)
    np.testing.assert_array_equal(rotation(config, positions), (jnp.cos(angles), jnp.sin(angles)))
