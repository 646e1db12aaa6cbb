"""Portable attention against its definition written out in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.attention.inputs import inputs, packed_mask
from tl_jax.model.attention import AttentionMask, attention, portable


def by_definition(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> np.ndarray:
    """One query at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    positions, segment_ids = np.asarray(mask.positions), np.asarray(mask.segment_ids)
    out = np.zeros_like(query)
    for row, slot, head in np.ndindex(query.shape[:3]):
        group = head // (query.shape[2] // key.shape[2])
        seen = (segment_ids[row] == segment_ids[row, slot]) & (positions[row] <= positions[row, slot])
        scores = key[row, seen, group] @ query[row, slot, head] / np.sqrt(query.shape[3])
        weights = np.exp(scores - scores.max())
        out[row, slot, head] = weights / weights.sum() @ value[row, seen, group]
    return out


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunk", [512, 7])
def test_it_is_the_definition(groups: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "CHUNK", chunk)
    arrays, mask = inputs(2, 24, 4, groups, 8), packed_mask(2, 24)
    np.testing.assert_allclose(attention(*arrays, mask), by_definition(*arrays, mask), atol=1e-5)


def test_chunked_gradients_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, mask = inputs(2, 24, 4, 2, 8), packed_mask(2, 24)

    def gradients() -> tuple[jax.Array, ...]:
        total = jax.grad(lambda *x: jnp.sin(attention(*x, mask)).sum(), argnums=(0, 1, 2))
        return jax.jit(total)(*arrays)

    whole = gradients()
    monkeypatch.setattr(portable, "CHUNK", 7)
    for ours, expected in zip(gradients(), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_long_rows_never_hold_all_scores() -> None:
    """Neither forward nor backward has an array of rows x heads x T x T."""
    length = 4096
    query = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    mask = AttentionMask(*(jax.ShapeDtypeStruct((1, length), jnp.int32),) * 4)
    step = jax.grad(lambda q, mask: attention(q, q, q, mask).sum())
    memory = jax.jit(step).lower(query, mask).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2 * length * length * 4


@pytest.mark.parametrize("chunk", [512, 7])
def test_padding_and_queries_without_keys_are_finite(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "CHUNK", chunk)
    arrays = inputs(1, 24, 2, 1, 8)
    nowhere = jnp.zeros((1, 24), jnp.int32)
    padding = AttentionMask.within(nowhere, nowhere)
    no_keys = padding._replace(key_segment_ids=jnp.full((1, 24), 3))

    def total(*x: jax.Array) -> jax.Array:
        return attention(*x, padding).sum() + attention(*x, no_keys).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*arrays)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_statistics_are_float32_for_bfloat16_inputs() -> None:
    """256 equal keys: a bfloat16 sum of their weights could not count beyond 256 or would round the mean."""
    length = 1024
    value = jnp.concatenate([jnp.ones((1, length // 2, 1, 2)), jnp.zeros((1, length // 2, 1, 2))], axis=1)
    mask = AttentionMask.within(jnp.arange(length)[None], jnp.ones((1, length), jnp.int32))
    zeros = jnp.zeros((1, length, 1, 2), jnp.bfloat16)
    out = attention(zeros, zeros, value.astype(jnp.bfloat16), mask)
    assert out.dtype == jnp.bfloat16
    assert float(out[0, -1, 0, 0]) == 0.5
