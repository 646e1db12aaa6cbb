"""Which blocks may see each other, against every query and key of them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.attention.inputs import branched_mask, packed_mask
from tl_jax.model.attention import AttentionMask
from tl_jax.model.attention.bounds import may_see
from tl_jax.model.attention.mask import Places

SIZE = 6
MAY_SEE = jax.jit(may_see)


def found(mask: AttentionMask) -> np.ndarray:
    return np.asarray(MAY_SEE(blocks(mask.of_queries), blocks(mask.of_keys)))


def blocks(places: Places) -> Places:
    positions, segment_ids, branches = (
        None if x is None else jnp.moveaxis(x.reshape(len(x), -1, SIZE), 1, 0) for x in places
    )
    assert positions is not None
    assert segment_ids is not None
    return positions, segment_ids, branches


def by_definition(mask: AttentionMask) -> np.ndarray:
    rows, queries, keys = mask.dense().shape
    return np.asarray(mask.dense()).reshape(rows, queries // SIZE, SIZE, keys // SIZE, SIZE).any(axis=(0, 2, 4))


@pytest.mark.parametrize("make_mask", [packed_mask, branched_mask])
@pytest.mark.parametrize("rows", [1, 3])
def test_of_packed_rows_no_other_pair_is_computed(make_mask: Callable[[int, int], AttentionMask], rows: int) -> None:
    mask = make_mask(rows, 48)
    np.testing.assert_array_equal(found(mask), by_definition(mask))


def test_no_pair_that_is_seen_is_left_out() -> None:
    """Of rows in any order, with and without branches, more keys than queries among them."""
    random, left_out = np.random.default_rng(0), 0
    for kind in range(200):
        segments, branches = 1 + kind % 5, kind % 3
        keys = [random.integers(0, most + 1, (2, 48)) for most in (20, segments, branches)]
        if kind % 2:  # in the order of packed rows, but for a few
            keys[1] = np.sort(keys[1], axis=1)
            keys[1][:, random.integers(0, 48, 2)] = 0
        positions, segment_ids, of_branch = (jnp.asarray(x, jnp.int32) for x in keys)
        queries = (positions[:, 24:], segment_ids[:, 24:], of_branch[:, 24:] if branches else None)
        mask = AttentionMask.between(queries, (positions, segment_ids, of_branch if branches else None))
        seen, may = by_definition(mask), found(mask)
        assert (may | ~seen).all()
        left_out += (~may).sum()
    assert left_out > 500
