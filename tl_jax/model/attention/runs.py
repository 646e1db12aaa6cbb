"""Splash attention where segments have branches: a query sees its own run of slots, and the beginning of its segment.

A run is the slots that follow each other in one segment and branch. Splash asks a function of the query's number and
of the key's place whether the one sees the other, besides comparing segments. One number has no room for where the run
starts, where the query stands and where the beginning ends; so the keys are there twice: once as the beginnings that
branches go on from, and once as what runs consist of. Blocks in which nothing is seen are skipped, so few are computed
twice.

Letters in shapes, besides those of `attention`: n blocks of N slots, of queries and as many of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MOST_SLOTS = 1 << 15
"""Of a row: two places in it are one int32."""
_BITS = 16
_NOWHERE = (1 << 31) - 1
_NO_SEGMENT = -2  # -1 is what lengthens rows


@dataclass(frozen=True)
class Sees:
    """bool: whether queries see keys, as far as their segments are the same."""

    length: int
    """slots of a row"""

    def __call__(self, queries: Any, keys: Any) -> Any:
        """Of the numbers of `Runs.queries`, and of places in the keys, of which there are twice as many as slots."""
        start = queries >> _BITS
        last = queries & ((1 << _BITS) - 1)
        return (keys < start) | ((keys - self.length >= start) & (keys <= last))


class Runs(NamedTuple):
    """What the kernels read of one row."""

    queries: jax.Array
    """int32 [T]: the start of the query's run, and where the query itself is among the keys"""
    key_segment_ids: jax.Array
    """int32 [2 T]"""
    blocks: jax.Array
    """bool [n, 2 n]: where anything is seen"""

    @classmethod
    def of(cls, segment_ids: jax.Array, branches: jax.Array, size: int) -> Runs:
        """Of int32 [T], in blocks of ``size`` slots."""
        slots = jnp.arange(segment_ids.size, dtype=jnp.int32)
        first = jnp.ones(1, bool)
        begins = jnp.concatenate([first, (segment_ids[1:] != segment_ids[:-1]) | (branches[1:] != branches[:-1])])
        starts = jax.lax.cummax(jnp.where(begins, slots, 0))
        of_beginning = (branches == 0) & (segment_ids > 0)
        of_blocks = jnp.arange(segment_ids.size // size)
        not_later = of_blocks[:, None] >= of_blocks
        own = not_later & ((of_blocks + 1) * size > starts[::size, None])
        going_on, begun = (_ends(segment_ids, of, size) for of in (branches > 0, of_beginning))
        meet = (going_on[0][:, None] <= begun[1]) & (begun[0] <= going_on[1][:, None])
        return cls(
            (starts << _BITS) | (slots + segment_ids.size),
            jnp.concatenate([jnp.where(of_beginning, segment_ids, _NO_SEGMENT), segment_ids]),
            jnp.concatenate([not_later & meet, own], axis=1),
        )


def next_blocks(seen: jax.Array) -> jax.Array:
    """int32 [n, m] of bool [n, m]: the next column from here on, in the order of reading, that is seen by its row."""
    places = jnp.where(seen.reshape(-1), jnp.arange(seen.size, dtype=jnp.int32), _NOWHERE)
    following = jax.lax.cummin(places, reverse=True)
    return jnp.where(following < _NOWHERE, following % seen.shape[1], 0).reshape(seen.shape)


def _ends(numbers: jax.Array, counts: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Of the slots of each block that count: the least number and the greatest, [n]. The least is above, if none do."""
    blocks, counts = numbers.reshape(-1, size), counts.reshape(-1, size)
    return jnp.where(counts, blocks, _NOWHERE).min(axis=1), jnp.where(counts, blocks, -1).max(axis=1)
