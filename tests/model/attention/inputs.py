"""Random queries, keys and values, and rows with two segments and padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.model.attention import AttentionMask


def inputs(rows: int, length: int, heads: int, groups: int, head_dim: int, seed: int = 0) -> tuple[jax.Array, ...]:
    random = np.random.default_rng(seed)
    shapes = [(rows, length, heads, head_dim)] + [(rows, length, groups, head_dim)] * 2
    return tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes)


def packed_mask(rows: int, length: int) -> AttentionMask:
    """Segments 1 and 2, then padding, cut at other places in each row."""
    slots = np.arange(length)
    segment_ids, positions = np.zeros((2, rows, length), np.int32)
    for row in range(rows):
        first, second = length // 3 + row, 3 * length // 4 + row
        segment_ids[row] = np.where(slots < first, 1, np.where(slots < second, 2, 0))
        positions[row] = np.where(slots < first, slots, np.where(slots < second, slots - first, 0))
    return AttentionMask.within(jnp.asarray(positions), jnp.asarray(segment_ids))


def branched_mask(rows: int, length: int, scale: int = 1, padding: int = 1) -> AttentionMask:
    """A segment of three branches, of which the second ends later in later rows, one without, then padding."""
    begins = 7 * scale  # the shared beginning
    positions, segment_ids, branches = np.zeros((3, rows, length), np.int32)
    for row in range(rows):
        ends = np.cumsum([begins, 4 * scale, (2 + row) * scale, 3 * scale])
        for branch in range(4):
            start = ends[branch - 1] if branch else 0
            of_branch = slice(start, ends[branch])
            positions[row, of_branch] = np.arange(ends[branch] - start) + (begins if branch else 0)
            segment_ids[row, of_branch], branches[row, of_branch] = 1, branch
        other = slice(ends[-1], length - padding)
        positions[row, other], segment_ids[row, other] = np.arange(length - padding - ends[-1]), 2
    return AttentionMask.within(*map(jnp.asarray, (positions, segment_ids, branches)))
