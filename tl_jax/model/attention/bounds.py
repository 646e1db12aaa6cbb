"""Which blocks of keys a block of queries may see, from what stands at the ends of both.

To compare each of N queries with each of N keys, for every pair of blocks, would be as many comparisons as a row has
pairs of slots. In rows as they are packed, whose segments and branches follow each other, the ends say the same; in
others a pair may be computed of which nobody sees anything, but none that is seen is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention.mask import Places

_LAST = 1 << 30
"""Padding stands behind all segments."""
_NOWHERE = (1 << 31) - 1


class _Ends(NamedTuple):
    """Of the slots of each block that count: the least number and the greatest, [n, B], and with each a position."""

    least: jax.Array
    greatest: jax.Array
    at_least: jax.Array
    """of the queries with that number the last position, of the keys the first"""
    at_greatest: jax.Array


def may_see(queries: Places, keys: Places) -> jax.Array:
    """bool [n of queries, n of keys]: False where in no row any query of the one sees any key of the other.

    Args:
        queries: positions, segments and branches of blocks of slots, int32 [n, B, N] each.
        keys: the same of the keys.
    """
    (at, segments, branches), (keys_at, key_segments, key_branches) = queries, keys
    numbers, key_numbers = _number(segments), _number(key_segments)
    every = jnp.ones(numbers.shape, bool)
    if branches is None or key_branches is None:
        return _meet(
            _ends(numbers, at, every, jnp.max), _ends(key_numbers, keys_at, jnp.ones(key_numbers.shape, bool), jnp.min)
        )
    shared = key_branches == 0
    stride = jnp.maximum(branches.max(), key_branches.max()) + 1
    own, of_keys = _number(segments, branches, stride), _number(key_segments, key_branches, stride)
    beginnings = _meet(_ends(numbers, at, every, jnp.max), _ends(key_numbers, keys_at, shared, jnp.min))
    return beginnings | _meet(_ends(own, at, every, jnp.max), _ends(of_keys, keys_at, ~shared, jnp.min))


def _number(segments: jax.Array, branches: jax.Array | int = 0, stride: jax.Array | int = 1) -> jax.Array:
    """In the order in which segments and their branches stand in rows."""
    return jnp.where(segments > 0, segments * stride + branches, _LAST - segments)


def _ends(numbers: jax.Array, positions: jax.Array, counts: jax.Array, bound: Callable[..., jax.Array]) -> _Ends:
    """``bound`` is `max` or `min` of the positions. Where nothing counts, the least is above the greatest."""
    least = jnp.where(counts, numbers, _NOWHERE).min(axis=-1)
    greatest = jnp.where(counts, numbers, -1).max(axis=-1)
    nowhere = 0 if bound is jnp.max else _NOWHERE

    def at(end: jax.Array) -> jax.Array:
        return bound(jnp.where(counts & (numbers == end[..., None]), positions, nowhere), axis=-1)

    return _Ends(least, greatest, at(least), at(greatest))


def _meet(queries: _Ends, keys: _Ends) -> jax.Array:
    """bool [n, n]: their numbers overlap; and where they do in one number alone, the query there stands late enough."""
    queries, keys = _Ends(*(x[:, None] for x in queries)), _Ends(*(x[None] for x in keys))
    overlap = (queries.least <= keys.greatest) & (keys.least <= queries.greatest)
    last = (queries.greatest != keys.least) | (keys.at_least <= queries.at_greatest)
    first = (queries.least != keys.greatest) | (keys.at_greatest <= queries.at_least)
    return (overlap & last & first).any(axis=-1)
