"""Attention by blocks of queries and keys, in plain JAX, that leaves out the pairs of blocks that nobody sees.

Scores exist for one pair of blocks at a time: forward with a running maximum and sum, backward from the logarithm of
that sum (FlashAttention-2, https://arxiv.org/abs/2307.08691, algorithms 1 and 2). Which key blocks a query block sees
is counted from the mask at run time, so causality, packing and padding at either end all save their part.

Letters in shapes, besides those of `attention`: n blocks of N slots, R = H / G query heads to a group.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention.mask import KEPT, AttentionMask, Places

_MASKED = -1e30  # finite: the difference of two of them is 0 and not NaN
_NO_KEY = -1e29
"""A running maximum below this has seen no key at all."""
Sums = TypeVar("Sums")


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def by_blocks(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int) -> jax.Array:
    """Attention with blocks of ``size`` slots; zero for a query without any key. See `attention` for the shapes."""
    return _forward(query, key, value, mask, size)[0]


class _Keys(NamedTuple):
    """What is read block by block: arrays [n, B, ...]."""

    key: jax.Array  # [n, B, G, N, K]
    value: jax.Array
    places: Places  # [n, B, N] each

    def block(self, index: jax.Array) -> _Keys:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), self)


class _Queries(NamedTuple):
    """What is scanned, a block of queries at a time, [n, B, ...]."""

    query: jax.Array  # [n, B, G, R, N, K]
    places: Places  # [n, B, N] each
    seen: jax.Array  # bool [n, n]: of the key blocks, those that any of these queries sees

    def scores(self, keys: _Keys) -> jax.Array:
        """[B, G, R, N, N] of one block with another, in float32."""
        scores = jnp.einsum("bgrqk,bgsk->bgrqs", self.query, keys.key, preferred_element_type=jnp.float32)
        seen = AttentionMask.between(self.places, keys.places).dense()
        return jnp.where(seen[:, None, None], scores * self.query.shape[-1] ** -0.5, _MASKED)

    def over_seen(self, add: Callable[[jax.Array, Sums], Sums], so_far: Sums) -> Sums:
        """Adds up what ``add`` makes of each block of keys that is seen, by its index."""
        first = jnp.argmax(self.seen)
        end = jnp.where(self.seen.any(), self.seen.shape[0] - jnp.argmax(self.seen[::-1]), first)

        def add_if_seen(index: jax.Array, so_far: Sums) -> Sums:
            return jax.lax.cond(self.seen[index], partial(add, index), lambda same: same, so_far)

        return jax.lax.fori_loop(first, end, add_if_seen, so_far)


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int
) -> tuple[jax.Array, tuple[Any, ...]]:
    queries, keys = _cut(query, key, value, mask, size)

    def one(own: _Queries) -> tuple[jax.Array, jax.Array]:
        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            out, highest, total = so_far
            block = keys.block(index)
            scores = own.scores(block)
            higher = jnp.maximum(highest, scores.max(axis=-1))
            weights, keep = jnp.exp(scores - higher[..., None]), jnp.exp(highest - higher)
            mixed = _wide("bgrqs,bgsk->bgrqk", weights.astype(value.dtype), block.value)
            return out * keep[..., None] + mixed, higher, total * keep + weights.sum(axis=-1)

        slots = own.query.shape[:-1]
        nothing: tuple[jax.Array, ...] = jnp.zeros(own.query.shape), jnp.full(slots, _MASKED), jnp.zeros(slots)
        out, highest, total = own.over_seen(add, nothing)
        any_key = highest > _NO_KEY
        total = jnp.where(any_key, total, 1)
        out = jnp.where(any_key[..., None], out / total[..., None], 0)
        return out.astype(query.dtype), jnp.where(any_key, highest + jnp.log(total), 0)

    out, log_total = jax.lax.map(one, queries)
    whole, log_total = (checkpoint_name(x, KEPT) for x in (_joined(out, query), log_total))
    return whole, (query, key, value, mask, whole, log_total)


def _backward(size: int, kept: tuple[Any, ...], given: jax.Array) -> tuple[jax.Array | None, ...]:
    query, key, value, mask, out, log_total = kept
    queries, keys = _cut(query, key, value, mask, size)
    inner = jnp.sum(out.astype(jnp.float32) * given.astype(jnp.float32), axis=-1, keepdims=True)
    groups = key.shape[2]
    blocks = queries, log_total, _query_blocks(given, groups, size), _query_blocks(inner, groups, size)

    def one(keys_so_far: tuple[jax.Array, jax.Array], block: tuple[Any, ...]) -> tuple[Any, jax.Array]:
        own, log_total, given, inner = block

        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            d_query, d_key, d_value = so_far
            other = keys.block(index)
            weights = jnp.exp(own.scores(other) - log_total[..., None])
            d_weights = _wide("bgrqk,bgsk->bgrqs", given, other.value)
            d_scores = (weights * (d_weights - inner) * query.shape[-1] ** -0.5).astype(query.dtype)
            return (
                d_query + _wide("bgrqs,bgsk->bgrqk", d_scores, other.key),
                d_key.at[index].add(_wide("bgrqs,bgrqk->bgsk", d_scores, own.query)),
                d_value.at[index].add(_wide("bgrqs,bgrqk->bgsk", weights.astype(value.dtype), given)),
            )

        nothing = jnp.zeros(own.query.shape, jnp.float32)
        d_query, *so_far = own.over_seen(add, (nothing, *keys_so_far))
        return tuple(so_far), d_query

    nothing = jnp.zeros(keys.key.shape, jnp.float32)
    (d_key, d_value), d_query = jax.lax.scan(one, (nothing, nothing), blocks)
    return _joined(d_query, query), _joined(d_key[:, :, :, None], key), _joined(d_value[:, :, :, None], value), None


by_blocks.defvjp(_forward, _backward)


def _wide(equation: str, left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.einsum(equation, left, right, preferred_element_type=jnp.float32)


def _cut(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int) -> tuple[_Queries, _Keys]:
    """Padded to whole blocks; what is added sees nothing and is not seen."""
    queries_at, keys_at = _places(mask.of_queries, size, -1), _places(mask.of_keys, size, -2)
    keys, values = (jnp.swapaxes(_blocks(x, size), 2, 3) for x in (key, value))

    def sees(block: Places) -> jax.Array:  # [n]: which blocks of keys
        return jax.vmap(lambda others: AttentionMask.between(block, others).dense().any())(keys_at)

    seen = jax.vmap(sees)(queries_at)
    return _Queries(_query_blocks(query, key.shape[2], size), queries_at, seen), _Keys(keys, values, keys_at)


def _places(places: Places, size: int, no_segment: int) -> Places:
    positions, segment_ids, branches = places
    cut = _blocks(positions, size), _blocks(segment_ids, size, no_segment)
    return *cut, None if branches is None else _blocks(branches, size)


def _blocks(x: jax.Array, size: int, fill: int = 0) -> jax.Array:
    """[B, T, ...] -> [n, B, N, ...]"""
    padding = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, padding, constant_values=fill)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _query_blocks(x: jax.Array, groups: int, size: int) -> jax.Array:
    """[B, T, H, K] -> [n, B, G, R, N, K]"""
    x = jnp.moveaxis(_blocks(x, size), 2, 3)  # [n, B, H, N, K]
    return x.reshape(*x.shape[:2], groups, -1, *x.shape[3:])


def _joined(blocks: jax.Array, like: jax.Array) -> jax.Array:
    """[n, B, G, R, N, K] -> [B, T, G * R, K], as ``like``"""
    x = jnp.moveaxis(blocks, (0, 4), (1, 2))  # [B, n, N, G, R, K]
    return x.reshape(like.shape[0], -1, *like.shape[2:])[:, : like.shape[1]].astype(like.dtype)
