from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.data.packing import PackedRows, Row, collate, pack, plan_rows
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


def best_fit(sizes: list[int], room: int) -> list[list[int]]:
    """Best-fit decreasing as its definition has it, in quadratic time."""
    rows: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        free = [room - sum(sizes[i] for i in row) for row in rows]
        fitting = [row for row in range(len(rows)) if free[row] >= sizes[number]]
        if fitting:
            rows[min(fitting, key=lambda row: free[row])].append(number)
        else:
            rows.append([number])
    return rows


@given(sizes=st.lists(st.integers(0, 70), max_size=60), room=st.sampled_from([70, 100, 128]))
def test_packing_is_best_fit_decreasing(sizes: list[int], room: int) -> None:
    plan = plan_rows(sizes, room)
    assert [plan[row].tolist() for row in range(len(plan))] == best_fit(sizes, room)


def test_many_examples_are_packed_in_seconds() -> None:
    """A million take 5 s; what is quadratic takes minutes for these."""
    sizes = np.random.default_rng(0).integers(1, 2048, 50_000)
    before = time.process_time()
    plan = plan_rows(sizes, 2048)
    assert time.process_time() - before < 5
    assert np.array_equal(np.sort(plan.order), np.arange(len(sizes)))
    assert len(plan) < 1.02 * sizes.sum() / 2048


def test_rows_are_read_when_they_are_needed() -> None:
    examples = [example(i, size) for i, size in enumerate([2, 7, 3, 8])]
    asked: list[list[int]] = []

    def read(numbers: Sequence[int]) -> tuple[Example, ...]:
        asked.append(list(numbers))
        return tuple(examples[number] for number in numbers)

    sizes = np.array([2, 7, 3, 8])
    rows = PackedRows(read, sizes, 10, plan_rows(sizes, 10))
    whole = collate(pack(examples, 10))
    assert ([row.used for row in rows], rows[-1].sizes, len(rows[0:5])) == ([10, 10], (7, 3), 2)
    assert asked == []
    part = collate(rows, needed={1})
    assert asked == [[1, 2]]
    for name, array in part.items():
        if name == "branches":
            assert array is None
            continue
        assert np.array_equal(array[1], whole[name][1])
        same = np.array_equal(array[0], whole[name][0])
        assert same if name in ("segment_ids", "positions") else not array[0].any()
    assert all(np.array_equal(array, whole[name]) for name, array in collate(rows).items())


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
