"""Attention against its definition written out in NumPy, for every backend that runs here."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import MeshConfig
from tl_jax.model import attention as module
from tl_jax.model.attention import AttentionError, Places, attention
from tl_jax.model.sharding import make_mesh


def inputs(rows: int, length: int, heads: int, groups: int, head_dim: int, seed: int = 0) -> tuple[jax.Array, ...]:
    random = np.random.default_rng(seed)
    shapes = [(rows, length, heads, head_dim)] + [(rows, length, groups, head_dim)] * 2
    return tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes)


def packed_places(rows: int, length: int) -> Places:
    """Segments 1 and 2, then padding, cut at other places in each row."""
    slots = np.arange(length)
    segments, positions = np.zeros((2, rows, length), np.int32)
    for row in range(rows):
        first, second = length // 3 + row, 3 * length // 4 + row
        segments[row] = np.where(slots < first, 1, np.where(slots < second, 2, 0))
        positions[row] = np.where(slots < first, slots, np.where(slots < second, slots - first, 0))
    return Places(jnp.asarray(positions), jnp.asarray(segments))


def by_definition(query: jax.Array, key: jax.Array, value: jax.Array, at: Places) -> np.ndarray:
    """One query at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    positions, segments = np.asarray(at.positions), np.asarray(at.segments)
    out = np.zeros_like(query)
    for row, slot, head in np.ndindex(query.shape[:3]):
        group = head // (query.shape[2] // key.shape[2])
        seen = (segments[row] == segments[row, slot]) & (positions[row] <= positions[row, slot])
        scores = key[row, seen, group] @ query[row, slot, head] / np.sqrt(query.shape[3])
        weights = np.exp(scores - scores.max())
        out[row, slot, head] = weights / weights.sum() @ value[row, seen, group]
    return out


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunk", [512, 7])
def test_xla_is_the_definition(groups: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    arrays, places = inputs(2, 24, 4, groups, 8), packed_places(2, 24)
    np.testing.assert_allclose(attention(*arrays, places, places), by_definition(*arrays, places), atol=1e-5)


def test_chunked_gradients_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, places = inputs(2, 24, 4, 2, 8), packed_places(2, 24)

    def gradients() -> tuple[jax.Array, ...]:
        total = jax.grad(lambda *x: jnp.sin(attention(*x, places, places)).sum(), argnums=(0, 1, 2))
        return jax.jit(total)(*arrays)

    whole = gradients()
    monkeypatch.setattr(module, "_CHUNK", 7)
    for ours, expected in zip(gradients(), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_long_rows_never_hold_all_scores() -> None:
    """Neither forward nor backward has an array of rows x heads x T x T."""
    length = 4096
    query = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    places = Places(*(jax.ShapeDtypeStruct((1, length), jnp.int32),) * 2)
    step = jax.grad(lambda q, at: attention(q, q, q, at, at).sum())
    memory = jax.jit(step).lower(query, places).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2 * length * length * 4


@pytest.mark.parametrize("chunk", [512, 7])
def test_padding_and_queries_without_keys_are_finite(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    arrays = inputs(1, 24, 2, 1, 8)
    nowhere = Places(jnp.zeros((1, 24), jnp.int32), jnp.zeros((1, 24), jnp.int32))
    elsewhere = Places(jnp.zeros((1, 24), jnp.int32), jnp.full((1, 24), 3))

    def total(*x: jax.Array) -> jax.Array:
        return attention(*x, nowhere, nowhere).sum() + attention(*x, nowhere, elsewhere).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*arrays)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_statistics_are_float32_for_bfloat16_inputs() -> None:
    """256 equal keys: a bfloat16 sum of their weights could not count beyond 256 or would round the mean."""
    length = 1024
    value = jnp.concatenate([jnp.ones((1, length // 2, 1, 2)), jnp.zeros((1, length // 2, 1, 2))], axis=1)
    places = Places(jnp.arange(length)[None], jnp.ones((1, length), jnp.int32))
    zeros = jnp.zeros((1, length, 1, 2), jnp.bfloat16)
    out = attention(zeros, zeros, value.astype(jnp.bfloat16), places, places)
    assert out.dtype == jnp.bfloat16
    assert float(out[0, -1, 0, 0]) == 0.5


SPLASH = partial(module._splash, interpret=True)


@pytest.mark.parametrize(("length", "groups"), [(128, 2), (256, 1)])
def test_splash_is_xla(length: int, groups: int) -> None:
    """The TPU kernel in its reference interpretation: packed rows, forward and gradient."""
    arrays, places = inputs(2, length, 2, groups, 128), packed_places(2, length)
    real = np.asarray(places.segments)[:, :, None, None] > 0

    def run(backend: object) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        def total(*x: jax.Array) -> jax.Array:
            return (jnp.sin(backend(*x, places, places)) * real).sum()  # type: ignore[operator]

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*arrays)

    ours, expected = run(SPLASH), run(attention)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-5)
    for left, right in zip(ours[1], expected[1], strict=True):
        np.testing.assert_allclose(left, right, atol=2e-4)


def test_splash_on_a_mesh() -> None:
    arrays, places = inputs(4, 128, 2, 2, 128), packed_places(4, 128)
    expected = attention(*arrays, places, places)
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
        ours = jax.jit(SPLASH)(*arrays, places, places)
    real = np.asarray(places.segments) > 0
    np.testing.assert_allclose(np.asarray(ours)[real], np.asarray(expected)[real], atol=2e-4)


def test_what_a_backend_cannot_do_raises() -> None:
    arrays, places = inputs(1, 24, 2, 1, 8), packed_places(1, 24)
    with pytest.raises(AttentionError, match="'cudnn' needs an NVIDIA GPU, not 'cpu'"):
        attention(*arrays, places, places, "cudnn")
    with pytest.raises(AttentionError, match="'splash' needs a TPU, not 'cpu'"):
        attention(*arrays, places, places, "splash")
    with pytest.raises(AttentionError, match="multiple of 128, got 24"):
        SPLASH(*arrays, places, places)


def test_cudnn_refuses_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    arrays, places = inputs(1, 24, 2, 1, 8), packed_places(1, 24)
    with pytest.raises(AttentionError, match="float32"):
        attention(*arrays, places, places, "cudnn")
