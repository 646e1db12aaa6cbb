"""Attention by blocks of queries and keys, in plain JAX, that leaves out the pairs of blocks that nobody sees.

Scores exist for one pair of blocks at a time: forward with a running maximum and sum, backward from the logarithm of
that sum (FlashAttention-2, https://arxiv.org/abs/2307.08691, algorithms 1 and 2). Which key blocks a query block sees
is read off the mask at run time, so causality, packing, branches and padding at either end all save their part.

Letters in shapes, besides those of `attention`: n blocks of N slots, R = H / G query heads to a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention.bounds import may_see
from tl_jax.model.attention.mask import KEPT, MASKED, AttentionMask, Places
from tl_jax.model.platform import platform

_NO_KEY = -1e29
"""A running maximum below this has seen no key at all."""
Sums = TypeVar("Sums")
Blocks = TypeVar("Blocks")
_MOST = 2**31 - 1
"""Of numbers that an int32 counts."""


def by_blocks(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int) -> jax.Array:
    """Attention with blocks of ``size`` slots; zero for a query without any key. See `attention` for the shapes.

    A pair of blocks is left out where it is seen in none of the rows; `row_by_row` leaves it out of each. For
    accelerators: a processor has no product for its gradients of several rows in bfloat16.
    """
    return _attend(query, key, value, mask, size, False)


def row_by_row(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int) -> jax.Array:
    """`by_blocks` of one row after another: what a processor has in its cache at a time is one row's."""
    return _attend(query, key, value, mask, size, True)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int, alone: bool
) -> jax.Array:
    """``alone``: a row by itself, after the one before it. Here and not around it, or all it reads is kept twice."""
    return _forward(query, key, value, mask, size, alone)[0]


def _forward(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int, alone: bool
) -> tuple[jax.Array, tuple[Any, ...]]:
    out = _by_rows(partial(_forward_rows, size=size), (query, key, value, mask), alone)
    out, log_total = (checkpoint_name(x, KEPT) for x in out)
    return out, (query, key, value, mask, out, log_total)


def _backward(size: int, alone: bool, kept: tuple[Any, ...], given: jax.Array) -> tuple[jax.Array | None, ...]:
    return *_by_rows(partial(_backward_rows, size=size), (*kept, given), alone), None


_attend.defvjp(_forward, _backward)


def _by_rows(compute: Callable[..., Sums], arrays: tuple[Any, ...], alone: bool) -> Sums:
    """``compute`` of arrays whose first axis is the rows, of all rows at once or each ``alone``."""
    if not alone:
        return compute(*arrays)

    def one(row: tuple[Any, ...]) -> Sums:
        out: Sums = jax.tree.map(lambda x: x[0], compute(*jax.tree.map(lambda x: x[None], row)))
        return out

    outs: Sums = jax.lax.map(one, arrays)
    return outs


class _Keys(NamedTuple):
    """Blocks of keys, [n, B, ...], or one of them, [B, ...]."""

    key: jax.Array  # [n, B, G, N, K]
    value: jax.Array  # [n, B, G, N, K]
    places: Places  # [n, B, N] each


class _Queries(NamedTuple):
    """Blocks of queries, [n, B, ...], or one of them, [B, ...]."""

    query: jax.Array  # [n, B, H, N, K]
    places: Places  # [n, B, N] each


class _Seen(NamedTuple):
    """Of each block of queries, the blocks of keys that it sees."""

    blocks: jax.Array  # int32 [n, n]: the indices of those blocks stand first
    how_many: jax.Array  # int32 [n]

    @classmethod
    def of(cls, seen: jax.Array) -> _Seen:
        """Of bool [n, n]."""
        return cls(jnp.argsort(~seen, axis=1, stable=True), seen.sum(axis=1))

    def add_up(self, add: Callable[[jax.Array, Sums], Sums], so_far: Sums) -> Sums:
        """Of one block, [n] and a scalar: what ``add`` makes of the index of each block that it sees."""
        return jax.lax.fori_loop(0, self.how_many, lambda place, sums: add(self.blocks[place], sums), so_far)


def _forward_rows(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int
) -> tuple[jax.Array, jax.Array]:
    """Outputs [B, T, H, K], and of each query the logarithm of the sum of its weights, [B, n, G, R, N]."""
    queries, keys, seen = _cut(query, key, value, mask, size)
    scale = query.shape[-1] ** -0.5

    def one(place: jax.Array, outs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """An output takes the place of its query, which nobody reads again."""
        blocks, log_totals = outs
        own, sees = _block((queries._replace(query=blocks), seen), place)
        own_query = _grouped(own.query, key.shape[2])

        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            out, highest, total = so_far
            other = _block(keys, index)
            visible = AttentionMask.between(own.places, other.places).dense()[:, None, None]
            scores = _wide("bgrqk,bgsk->bgrqs", own_query, other.key) * scale
            scores = jnp.where(visible, scores, MASKED)
            higher = jnp.maximum(highest, scores.max(axis=-1))
            weights, keep = jnp.exp(scores - higher[..., None]), jnp.exp(highest - higher)
            mixed = _wide("bgrqs,bgsk->bgrqk", weights.astype(value.dtype), other.value)
            return out * keep[..., None] + mixed, higher, total * keep + weights.sum(axis=-1)

        slots = own_query.shape[:-1]
        nothing: tuple[jax.Array, ...] = jnp.zeros(own_query.shape), jnp.full(slots, MASKED), jnp.zeros(slots)
        out, highest, total = sees.add_up(add, nothing)
        any_key = highest > _NO_KEY
        total = jnp.where(any_key, total, 1)
        out = jnp.where(any_key[..., None], out / total[..., None], 0)
        log_total = jnp.where(any_key, highest + jnp.log(total), 0)
        return _put(blocks, out.reshape(own.query.shape), place), _put(log_totals, log_total, place)

    shape = queries.query.shape  # [n, B, H, N, K]
    log_totals = jnp.zeros((*shape[:2], key.shape[2], shape[2] // key.shape[2], size))
    out, log_total = jax.lax.fori_loop(0, shape[0], one, (queries.query, log_totals))
    return _joined(out, query), jnp.moveaxis(log_total, 0, 1)


def _backward_rows(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    out: jax.Array,
    log_total: jax.Array,
    given: jax.Array,
    size: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of query, key, value: a block of queries at a time. Scores have keys before queries: so only a block of
    keys, for the gradient of queries, is turned round for each pair."""
    queries, keys, seen = _cut(query, key, value, mask, size)
    scale = query.shape[-1] ** -0.5
    given_blocks, out_blocks = _head_blocks(given, size), _head_blocks(out, size)
    others = (queries.places, seen, given_blocks, out_blocks, jnp.moveaxis(log_total, 1, 0))

    def one(place: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """A query's gradient takes its place, which nobody reads again."""
        blocks, *d_keys = so_far
        query_block, (own_places, sees, given, out, log_sum) = _block((blocks, others), place)
        query, given, out = (_grouped(x, key.shape[2]) for x in (query_block, given, out))
        # A product, because a processor takes ten times as long over a sum of what is multiplied first.
        inner = _wide("bgrqk,bgrqk->bgrq", given, out, precision=jax.lax.Precision.HIGHEST)
        turned_query, turned_given = (jnp.moveaxis(x, -1, 2) for x in (query, given))  # [B, G, K, R, N]

        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            d_query, d_key, d_value = so_far
            other = _block(keys, index)
            visible = jnp.swapaxes(AttentionMask.between(own_places, other.places).dense(), 1, 2)[:, None, :, None]
            scores = _wide("bgsk,bgkrq->bgsrq", other.key, turned_query) * scale
            weights = jnp.exp(jnp.where(visible, scores, MASKED) - log_sum[:, :, None])
            d_weights = _wide("bgsk,bgkrq->bgsrq", other.value, turned_given)
            d_scores = (weights * (d_weights - inner[:, :, None]) * scale).astype(query.dtype)
            return (
                d_query + _wide("bgsk,bgsrq->bgkrq", other.key, d_scores),
                _plus(d_key, _wide("bgsrq,bgrqk->bgsk", d_scores, query), index),
                _plus(d_value, _wide("bgsrq,bgrqk->bgsk", weights.astype(value.dtype), given), index),
            )

        d_query, *d_keys = sees.add_up(add, (jnp.zeros(turned_query.shape), *d_keys))
        return _put(blocks, jnp.moveaxis(d_query, 2, -1).reshape(query_block.shape), place), *d_keys

    nothing = jnp.zeros(keys.key.shape), jnp.zeros(keys.key.shape)
    d_query, d_key, d_value = jax.lax.fori_loop(0, len(queries.query), one, (queries.query, *nothing))
    return _joined(d_query, query), _joined(d_key, key), _joined(d_value, value)


def _wide(equation: str, left: jax.Array, right: jax.Array, precision: jax.lax.Precision | None = None) -> jax.Array:
    return jnp.einsum(equation, left, right, precision=precision, preferred_element_type=jnp.float32)


def _block(blocks: Blocks, index: jax.Array) -> Blocks:
    """Of arrays [n, ...]: one [...] of each."""

    def one(x: jax.Array) -> jax.Array:
        if platform() != "cpu" or x.dtype != jnp.float32 or x.size > _MOST:
            return jax.lax.dynamic_index_in_dim(x, index, keepdims=False)
        # Out of one long row of numbers, or a processor calls memcpy for each K of them, which takes twice as long.
        size = math.prod(x.shape[1:])
        return jax.lax.dynamic_slice_in_dim(x.reshape(-1), index * size, size).reshape(x.shape[1:])

    return jax.tree.map(one, blocks)


def _put(blocks: jax.Array, block: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(blocks, block.astype(blocks.dtype), index, 0)


def _plus(blocks: jax.Array, block: jax.Array, index: jax.Array) -> jax.Array:
    """``blocks`` with ``block`` added to one of them, cut out with its axis, or a processor makes two loops of it."""
    before = jax.lax.dynamic_slice_in_dim(blocks, index, 1)
    return jax.lax.dynamic_update_slice_in_dim(blocks, before + block[None], index, 0)


def _grouped(x: jax.Array, groups: int) -> jax.Array:
    """[B, H, N, K] -> [B, G, R, N, K]"""
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _cut(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int
) -> tuple[_Queries, _Keys, _Seen]:
    """Padded to whole blocks, of which what is added sees nothing and is not seen; and which may see which."""
    queries_at, keys_at = _places(mask.of_queries, size, -1), _places(mask.of_keys, size, -2)
    queries, keys, values = (_head_blocks(x, size) for x in (query, key, value))
    return _Queries(queries, queries_at), _Keys(keys, values, keys_at), _Seen.of(may_see(queries_at, keys_at))


def _places(places: Places, size: int, no_segment: int) -> Places:
    positions, segment_ids, branches = places
    cut = _blocks(positions, size), _blocks(segment_ids, size, no_segment)
    return *cut, None if branches is None else _blocks(branches, size)


def _blocks(x: jax.Array, size: int, fill: int = 0) -> jax.Array:
    """[B, T, ...] -> [n, B, N, ...]"""
    padding = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, padding, constant_values=fill)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _head_blocks(x: jax.Array, size: int) -> jax.Array:
    """[B, T, H, K] -> [n, B, H, N, K]"""
    return jnp.swapaxes(_blocks(x, size), 2, 3)


def _joined(blocks: jax.Array, like: jax.Array) -> jax.Array:
    """[n, B, H, N, K] -> [B, T, H, K], as ``like``"""
    x = jnp.transpose(blocks, (1, 0, 3, 2, 4))
    return x.reshape(like.shape[0], -1, *like.shape[2:])[:, : like.shape[1]].astype(like.dtype)
