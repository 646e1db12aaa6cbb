"""Segments of packed rows as starts and lengths, for kernels that know no segment ids."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def segment_starts(segment_ids: jax.Array, most: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where the segments of each row lie; padding (segment 0) is none.

    Args:
        segment_ids: int32 [B, T]; a segment's slots lie together.
        most: segments of a row that are looked for.

    Returns:
        The first slot of each segment and its number of slots, int32 [B, most], -1 where a row has fewer; and whether
        a row has more, bool [B].
    """
    before = jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
    real = segment_ids > 0
    count = jnp.cumsum(real & (segment_ids != before), axis=1)  # segments begun up to here, [B, T]
    own = real[:, None, :] & (count[:, None, :] == jnp.arange(1, most + 1)[None, :, None])  # [B, most, T]
    lengths = jnp.sum(own, axis=2, dtype=jnp.int32)
    starts = jnp.argmax(own, axis=2).astype(jnp.int32)
    there = lengths > 0
    return jnp.where(there, starts, -1), jnp.where(there, lengths, -1), count[:, -1] > most
