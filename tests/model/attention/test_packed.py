"""Segments as starts and lengths."""

from __future__ import annotations

import jax.numpy as jnp

from tl_jax.model.attention.packed import segment_starts


def test_starts_and_lengths_of_each_row() -> None:
    rows = [[1, 1, 2, 3, 3, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 4, 4], [5, 0, 0, 5, 7, 0]]
    starts, lengths, more = segment_starts(jnp.asarray(rows, jnp.int32), 3)
    assert starts.tolist() == [[0, 2, 3], [3, -1, -1], [-1, -1, -1], [0, 1, 2], [0, 3, 4]]
    assert lengths.tolist() == [[2, 1, 2], [3, -1, -1], [-1, -1, -1], [1, 1, 1], [1, 1, 1]]
    assert more.tolist() == [False, False, False, True, False]
