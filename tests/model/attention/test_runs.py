"""What splash is told of branches against the mask that defines them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.model.attention import AttentionMask
from tl_jax.model.attention.runs import Runs, Sees, next_blocks

LENGTH, SIZE = 96, 8


def some_row(seed: int) -> np.ndarray:
    """[3, T]: positions, segments and branches of segments with up to four branches, in which others may begin."""
    random, row = np.random.default_rng(seed), np.zeros((3, LENGTH), np.int32)
    at, segment = int(random.integers(10)), 0
    while at < LENGTH - random.integers(20):
        segment += 1
        own, begins = segment, int(random.integers(20))
        pieces = [(0, own, 0, begins)]
        for branch in range(1, random.integers(5) + 1):
            pieces.append((begins, own, branch, int(random.integers(1, 12))))
            if random.random() < 0.3:  # an episode starts anew, see `tl_jax.rl.rows`
                segment += 1
                pieces.append((0, segment, branch, int(random.integers(1, 9))))
        for position, number, branch, size in pieces:
            span = slice(at, min(at + size, LENGTH))
            taken = max(span.stop - at, 0)
            row[0, span], row[1, span], row[2, span] = position + np.arange(taken), number, branch
            at += taken
    return row


@pytest.mark.parametrize("seed", range(6))
def test_keys_are_seen_once_and_in_no_block_that_is_skipped(seed: int) -> None:
    row = jnp.asarray(some_row(seed))
    runs = Runs.of(row[1], row[2], SIZE)
    same = row[1][:, None] == runs.key_segment_ids
    seen = np.asarray(Sees(LENGTH)(runs.queries[:, None], jnp.arange(2 * LENGTH)) & same)
    real = np.asarray(row[1]) > 0
    times = seen[:, :LENGTH].astype(int) + seen[:, LENGTH:]
    np.testing.assert_array_equal(times[real], AttentionMask.within(*row[:, None]).dense()[0][real])
    assert seen.any(axis=1).all()  # padding, too, so that its numbers are finite
    in_blocks = seen.reshape(LENGTH // SIZE, SIZE, -1, SIZE).any(axis=(1, 3))
    assert not (in_blocks & ~np.asarray(runs.blocks)).any()


def test_blocks_without_a_seen_pair_are_skipped() -> None:
    """Two branches of a block each behind a beginning of two, then a segment without."""
    segments = jnp.repeat(jnp.asarray([1, 1, 1, 1, 2], jnp.int32), 4)
    branches = jnp.repeat(jnp.asarray([0, 0, 1, 2, 0], jnp.int32), 4)
    blocks = np.asarray(Runs.of(segments, branches, 4).blocks).astype(int)
    beginnings = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    own = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert blocks.tolist() == [left + right for left, right in zip(beginnings, own, strict=True)]


def test_next_blocks() -> None:
    seen = jnp.asarray([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]], bool)
    assert next_blocks(seen).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 2, 2, 0]]
