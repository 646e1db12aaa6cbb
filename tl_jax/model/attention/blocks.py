"""Attention by blocks of queries and keys, in plain JAX, that leaves out the pairs of blocks that nobody sees.

Scores exist for one pair of blocks at a time: forward with a running maximum and sum, backward from the logarithm of
that sum (FlashAttention-2, https://arxiv.org/abs/2307.08691, algorithms 1 and 2). Which key blocks a query block sees
is read off the mask at run time, so causality, packing, branches and padding at either end all save their part.

Letters in shapes, besides those of `attention`: n blocks of N slots, R = H / G query heads to a group.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention.bounds import may_see
from tl_jax.model.attention.mask import KEPT, AttentionMask, Places

_MASKED = -1e30  # finite: the difference of two of them is 0 and not NaN
_NO_KEY = -1e29
"""A running maximum below this has seen no key at all."""
Sums = TypeVar("Sums")
Blocks = TypeVar("Blocks")


def by_blocks(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int) -> jax.Array:
    """Attention with blocks of ``size`` slots; zero for a query without any key. See `attention` for the shapes.

    A pair of blocks is left out where it is seen in none of the rows; `row_by_row` leaves it out of each.
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

    query: jax.Array  # [n, B, G, R, N, K]
    places: Places  # [n, B, N] each


class _Seen(NamedTuple):
    """Of each block of one side, those of the other that it sees or that see it."""

    blocks: jax.Array  # int32 [n, n]: the indices of those blocks stand first
    how_many: jax.Array  # int32 [n]

    @classmethod
    def of(cls, seen: jax.Array) -> _Seen:
        """Of bool [n, n]."""
        return cls(jnp.argsort(~seen, axis=1, stable=True), seen.sum(axis=1))

    def add_up(self, add: Callable[[jax.Array, Sums], Sums], so_far: Sums) -> Sums:
        """Of one block, [n] and a scalar: what ``add`` makes of the index of each block it has to do with."""
        return jax.lax.fori_loop(0, self.how_many, lambda place, sums: add(self.blocks[place], sums), so_far)


def _forward_rows(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int
) -> tuple[jax.Array, jax.Array]:
    """Outputs [B, T, H, K], and of each query the logarithm of the sum of its weights, [B, n, G, R, N]."""
    queries, keys, seen = _cut(query, key, value, mask, size)
    scale = query.shape[-1] ** -0.5

    def one(block: tuple[_Queries, _Seen]) -> tuple[jax.Array, jax.Array]:
        own, sees = block

        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            out, highest, total = so_far
            other = _block(keys, index)
            visible = AttentionMask.between(own.places, other.places).dense()[:, None, None]
            scores = _wide("bgrqk,bgsk->bgrqs", own.query, other.key) * scale
            scores = jnp.where(visible, scores, _MASKED)
            higher = jnp.maximum(highest, scores.max(axis=-1))
            weights, keep = jnp.exp(scores - higher[..., None]), jnp.exp(highest - higher)
            mixed = _wide("bgrqs,bgsk->bgrqk", weights.astype(value.dtype), other.value)
            return out * keep[..., None] + mixed, higher, total * keep + weights.sum(axis=-1)

        slots = own.query.shape[:-1]
        nothing: tuple[jax.Array, ...] = jnp.zeros(own.query.shape), jnp.full(slots, _MASKED), jnp.zeros(slots)
        out, highest, total = sees.add_up(add, nothing)
        any_key = highest > _NO_KEY
        total = jnp.where(any_key, total, 1)
        out = jnp.where(any_key[..., None], out / total[..., None], 0)
        return out.astype(query.dtype), jnp.where(any_key, highest + jnp.log(total), 0)

    out, log_total = jax.lax.map(one, (queries, _Seen.of(seen)))
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
    """Gradients of query, key, value: a block of keys at a time. Scores have keys before queries: so no product needs
    its operands turned round."""
    queries, keys, seen = _cut(query, key, value, mask, size)
    scale = query.shape[-1] ** -0.5
    given_blocks, out_blocks = (_query_blocks(x, key.shape[2], size) for x in (given, out))
    # A product, because a processor takes ten times as long over a sum of what is multiplied first.
    inner = _wide("nbgrqk,nbgrqk->nbgrq", given_blocks, out_blocks, precision=jax.lax.Precision.HIGHEST)
    log_sums = jnp.moveaxis(log_total, 1, 0)

    def one(d_queries: jax.Array, block: tuple[_Keys, _Seen]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        own, seen_by = block
        turned_key = jnp.swapaxes(own.key, -1, -2)

        def add(index: jax.Array, so_far: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            d_key, d_value, d_queries = so_far
            other, given, log_sum, product = _block((queries, given_blocks, log_sums, inner), index)
            visible = jnp.swapaxes(AttentionMask.between(other.places, own.places).dense(), 1, 2)[:, None, :, None]
            scores = _wide("bgsk,bgrqk->bgsrq", own.key, other.query) * scale
            weights = jnp.exp(jnp.where(visible, scores, _MASKED) - log_sum[:, :, None])
            d_weights = _wide("bgsk,bgrqk->bgsrq", own.value, given)
            d_scores = (weights * (d_weights - product[:, :, None]) * scale).astype(query.dtype)
            d_query = _wide("bgks,bgsrq->bgkrq", turned_key, d_scores)
            return (
                d_key + _wide("bgsrq,bgrqk->bgsk", d_scores, other.query),
                d_value + _wide("bgsrq,bgrqk->bgsk", weights.astype(value.dtype), given),
                d_queries.at[index].add(d_query, mode="promise_in_bounds"),
            )

        nothing: tuple[jax.Array, ...] = jnp.zeros(own.key.shape), jnp.zeros(own.key.shape), d_queries
        d_key, d_value, d_queries = seen_by.add_up(add, nothing)
        return d_queries, (d_key, d_value)

    turned = jnp.zeros(jnp.moveaxis(queries.query, -1, 3).shape)
    d_queries, (d_key, d_value) = jax.lax.scan(one, turned, (keys, _Seen.of(seen.T)))
    d_query = _joined(jnp.moveaxis(d_queries, 3, -1), query)
    return d_query, _joined(d_key[:, :, :, None], key), _joined(d_value[:, :, :, None], value)


def _wide(equation: str, left: jax.Array, right: jax.Array, precision: jax.lax.Precision | None = None) -> jax.Array:
    return jnp.einsum(equation, left, right, precision=precision, preferred_element_type=jnp.float32)


def _block(blocks: Blocks, index: jax.Array) -> Blocks:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), blocks)


def _cut(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, size: int
) -> tuple[_Queries, _Keys, jax.Array]:
    """Padded to whole blocks, of which what is added sees nothing and is not seen; and `may_see`."""
    queries_at, keys_at = _places(mask.of_queries, size, -1), _places(mask.of_keys, size, -2)
    keys, values = (jnp.swapaxes(_blocks(x, size), 2, 3) for x in (key, value))
    seen = may_see(queries_at, keys_at)
    return _Queries(_query_blocks(query, key.shape[2], size), queries_at), _Keys(keys, values, keys_at), seen


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
