"""Which keys a query sees, and the error of a backend that cannot compute it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

from tl_jax.errors import UserError

KEPT = "attention"
"""`checkpoint_name` of a backend's output and of what else its gradient needs, see `tl_jax.model.remat`."""


MASKED = -1e30
"""The score of a key that is not seen. Finite: a query without any key gives numbers and not NaN, and the difference of
two of them is 0."""


class AttentionError(UserError):
    """A combination of device, dtype and shapes that the chosen backend cannot compute."""


Places: TypeAlias = tuple[jax.Array, jax.Array, "jax.Array | None"]
"""Positions, segments and branches of some slots."""


class AttentionMask(NamedTuple):
    """A query sees the keys of its own segment whose position is not after its own.

    That one rule covers packed rows, padding (segment 0 sees only segment 0, so its numbers are finite and nobody reads
    them) and a cache that is partly filled (slots not yet written have segment 0).

    Where a segment has branches, several ways in which one beginning goes on, a query sees of these only its own. All
    are int32.
    """

    positions: jax.Array
    """[B, T], of the queries, within their segments"""
    segment_ids: jax.Array
    """[B, T]"""
    key_positions: jax.Array
    """[B, S]"""
    key_segment_ids: jax.Array
    """[B, S]"""
    branches: jax.Array | None = None
    """[B, T], within their segments from 1; 0 = what all branches share. None = there are none"""
    key_branches: jax.Array | None = None
    """[B, S]"""

    @classmethod
    def within(cls, positions: jax.Array, segment_ids: jax.Array, branches: jax.Array | None = None) -> AttentionMask:
        """Queries and keys are the same tokens, [B, T]."""
        return cls(positions, segment_ids, positions, segment_ids, branches, branches)

    @classmethod
    def between(cls, queries: Places, keys: Places) -> AttentionMask:
        """Of some queries and some keys."""
        return cls(*queries[:2], *keys[:2], queries[2], keys[2])

    def only(self, some: Callable[[Any], Any]) -> AttentionMask:
        """The same for ``some`` of the queries, taken of arrays [B, T]."""
        return AttentionMask.between(some(self.of_queries), self.of_keys)

    @property
    def of_queries(self) -> Places:
        return self.positions, self.segment_ids, self.branches

    @property
    def of_keys(self) -> Places:
        return self.key_positions, self.key_segment_ids, self.key_branches

    def dense(self) -> jax.Array:
        """Bool [B, T, S]: True where the query sees the key."""
        same_segment = self.segment_ids[:, :, None] == self.key_segment_ids[:, None, :]
        not_later = self.positions[:, :, None] >= self.key_positions[:, None, :]
        seen = same_segment & not_later
        if self.branches is None or self.key_branches is None:
            return seen
        keys = self.key_branches[:, None, :]
        return seen & ((keys == 0) | (keys == self.branches[:, :, None]))
