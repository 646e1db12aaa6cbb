"""New tokens behind a beginning that several rows share, against a copy of it in front of each row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.model.attention import AttentionMask
from tl_jax.model.attention.cached import Beginnings, cached
from tl_jax.model.kv_dtype import Numbers, decoded, encoded

COUNT, SHARING, HEADS, HEAD_DIM = 2, 3, 4, 8
LENGTHS = np.asarray([5, 7])
"""of the beginnings, which have 8 places"""
WRITTEN = np.asarray([1, 4, 2, 3, 1, 4])
"""by each of the rows, which have 4"""


def kept(key: int, shape: tuple[int, ...], dtype: str) -> Numbers:
    return encoded(2 * jax.random.normal(jax.random.key(key), shape), dtype)


@pytest.mark.parametrize("where", ["cpu", "gpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_the_definition(groups: int, dtype: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_jax.model.attention.portable.platform", lambda: where)
    rows, before = COUNT * SHARING, (COUNT, groups, 8, HEAD_DIM)
    query = jax.random.normal(jax.random.key(0), (rows, 1, HEADS, HEAD_DIM))
    begun = Beginnings(kept(1, before, dtype), kept(2, before, dtype), jnp.asarray(LENGTHS))
    own = [kept(key, (rows, 4, groups, HEAD_DIM), dtype) for key in (3, 4)]
    own_order = jnp.broadcast_to(jnp.arange(4), (rows, 4))
    last, ones = jnp.asarray(WRITTEN - 1)[:, None], jnp.ones((rows, 4), jnp.int32)
    found = cached(query, *own, AttentionMask(last, ones[:, :1], own_order, ones), begun)

    expected = np.zeros((rows, 1, HEADS, HEAD_DIM))
    keys, values = (
        [np.swapaxes(decoded(shared, jnp.float32), 1, 2), np.asarray(decoded(x, jnp.float32))]
        for shared, x in zip((begun.keys, begun.values), own, strict=True)
    )
    for row, head in np.ndindex(rows, HEADS):
        first, group = row // SHARING, head * groups // HEADS
        there = (first, slice(LENGTHS[first]), group), (row, slice(WRITTEN[row]), group)
        seen, mixed = (np.concatenate([x[at] for x, at in zip(both, there, strict=True)]) for both in (keys, values))
        weights = np.exp(seen @ np.asarray(query[row, 0, head]) / np.sqrt(HEAD_DIM))
        expected[row, 0, head] = weights / weights.sum() @ mixed
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_nobody_begins_with() -> None:
    """Before any prompt is there, numbers are finite."""
    nothing = jnp.zeros((1, 2, 8, HEAD_DIM))
    own = jnp.ones((2, 4, 2, HEAD_DIM))
    mask = AttentionMask(*(jnp.zeros((2, n), jnp.int32) for n in (1, 1, 4, 4)))
    begun = Beginnings(nothing, nothing, jnp.zeros(1, jnp.int32))
    np.testing.assert_allclose(cached(jnp.ones((2, 1, HEADS, HEAD_DIM)), own, own, mask, begun), 1, atol=1e-6)


def test_several_new_tokens_are_not_asked_for() -> None:
    nothing = jnp.zeros((1, 2, 8, HEAD_DIM))
    own = jnp.ones((2, 4, 2, HEAD_DIM))
    mask = AttentionMask(*(jnp.zeros((2, n), jnp.int32) for n in (3, 3, 4, 4)))
    with pytest.raises(AssertionError, match="several new tokens"):
        cached(jnp.ones((2, 3, HEADS, HEAD_DIM)), own, own, mask, Beginnings(nothing, nothing, jnp.zeros(1, jnp.int32)))
