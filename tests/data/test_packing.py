from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.data.packing import Row, collate, pack
from tl_jax.data.supervision import Example


def example(number: int, size: int) -> Example:
    """Tokens, labels and weights that tell where they come from."""
    tokens = np.arange(size, dtype=np.int32) + 1000 * number + 1
    return Example(str(number), tokens, tokens + 1, np.full(size, 1 / size, np.float32), 1.0 + number, ())


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), whole=st.booleans())
def test_every_example_stands_in_one_row_once(sizes: list[int], whole: bool) -> None:
    examples = [example(i, size) for i, size in enumerate(sizes)]
    rows = pack(examples, 50, whole)
    assert sorted(e.id for row in rows for e in row.examples) == sorted(e.id for e in examples)
    assert all(1 <= row.used <= 50 for row in rows)
    batch = collate(rows)
    assert batch.tokens.shape == (len(rows), 50)
    seen = []
    for r, row in enumerate(rows):
        for segment, packed in enumerate(row.examples, 1):
            place = np.flatnonzero(batch.segment_ids[r] == segment)
            assert np.array_equal(place, np.arange(place[0], place[0] + len(place)))  # in one piece
            assert np.array_equal(batch.tokens[r, place], packed.tokens)
            assert np.array_equal(batch.labels[r, place], packed.labels)
            assert np.array_equal(batch.weights[r, place], packed.weights)
            assert np.array_equal(batch.positions[r, place], np.arange(len(place)))
            seen.append(packed.id)
        padding = batch.segment_ids[r] == 0
        assert padding.sum() == 50 - row.used
        for part in (batch.tokens, batch.weights, batch.labels, batch.positions):
            assert not part[r, padding].any()
        assert batch.turns[r] == sum(e.turns for e in row.examples)
    assert len(seen) == len(sizes)
    assert [array.dtype for array in (batch.tokens, batch.weights, batch.turns)] == [np.int32, np.float32, np.float32]


@given(sizes=st.lists(st.integers(1, 64), min_size=1, max_size=60))
def test_packing_is_tight(sizes: list[int]) -> None:
    """Any two rows are together longer than one row, so at most half of all positions are padding (but for one row)."""
    rows = pack([example(i, size) for i, size in enumerate(sizes)], 64)
    used = sorted(row.used for row in rows)
    assert len(rows) == 1 or used[0] + used[1] > 64


def test_without_packing_the_order_stays() -> None:
    rows = pack([example(i, size) for i, size in enumerate([3, 9, 5])], 10, pack=False)
    assert [row.examples[0].id for row in rows] == ["0", "1", "2"]


def test_a_hand_made_case() -> None:
    rows = pack([example(i, size) for i, size in enumerate([2, 7, 3, 8])], 10)
    assert sorted([len(e.tokens) for e in row.examples] for row in rows) == [[7, 3], [8, 2]]


def test_too_long_examples_and_mixed_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="11 tokens does not fit into a row of 10"):
        pack([example(0, 11)], 10)
    with pytest.raises(ValueError, match="one length"):
        collate([Row((), 8), Row((), 9)])
