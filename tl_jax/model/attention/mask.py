"""Which keys a query sees, and the error of a backend that cannot compute it."""

from __future__ import annotations

from typing import NamedTuple

import jax

from tl_jax.errors import UserError

KEPT = "attention"
"""`checkpoint_name` of a backend's output and of what else its gradient needs: what remat ``dots`` keeps."""


class AttentionError(UserError):
    """A combination of device, dtype and shapes that the chosen backend cannot compute."""


class AttentionMask(NamedTuple):
    """A query sees the keys of its own segment whose position is not after its own.

    That one rule covers packed rows, padding (segment 0 sees only segment 0, so its numbers are finite and nobody reads
    them) and a cache that is partly filled (slots not yet written have segment 0). All four are int32.
    """

    positions: jax.Array
    """[B, T], of the queries, within their segments"""
    segment_ids: jax.Array
    """[B, T]"""
    key_positions: jax.Array
    """[B, S]"""
    key_segment_ids: jax.Array
    """[B, S]"""

    @classmethod
    def within(cls, positions: jax.Array, segment_ids: jax.Array) -> AttentionMask:
        """Queries and keys are the same tokens, [B, T]."""
        return cls(positions, segment_ids, positions, segment_ids)

    def dense(self) -> jax.Array:
        """Bool [B, T, S]: True where the query sees the key."""
        same_segment = self.segment_ids[:, :, None] == self.key_segment_ids[:, None, :]
        not_later = self.positions[:, :, None] >= self.key_positions[:, None, :]
        return same_segment & not_later
