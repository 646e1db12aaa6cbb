from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from tests.data.test_packing import example
from tl_jax.data.loader import Loader, batches
from tl_jax.data.packing import pack
from tl_jax.errors import UserError

ROWS = pack([example(i, 5) for i in range(10)], 8, pack=False)


def ids(batch) -> list[int]:
    return (batch.tokens[:, 0] // 1000).tolist()


def test_every_epoch_has_every_row_once_in_its_own_order() -> None:
    loader = Loader(ROWS, 4, seed=3)
    stream = [row for batch in itertools.islice(loader, 15) for row in ids(batch)]
    epochs = [stream[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert loader.steps_per_epoch == 3


def test_batches_of_one_row() -> None:
    loader = Loader(ROWS, 1, seed=3)
    assert sorted(row for batch in itertools.islice(loader, 10) for row in ids(batch)) == list(range(10))


def test_order_depends_on_the_seed_only() -> None:
    def first(seed: int) -> list[list[int]]:
        return [ids(batch) for batch in itertools.islice(Loader(ROWS, 4, seed), 6)]

    assert first(0) == first(0)
    assert first(0) != first(1)


@pytest.mark.parametrize("taken", [0, 1, 2, 7])
def test_resumes_exactly(taken: int) -> None:
    loader = Loader(ROWS, 4, seed=5)
    for _ in range(taken):
        next(loader)
    state = json.loads(json.dumps(loader.state()))
    expected = [next(loader) for _ in range(8)]
    again = Loader(ROWS, 4, seed=5)
    next(again)
    again.restore(state)
    for one, other in zip(expected, (next(again) for _ in range(8)), strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_their_own_rows(processes: int) -> None:
    """Together they have the batches that one alone would have, and their states are the same."""
    whole = Loader(ROWS, 4, seed=5)
    parts = [Loader(ROWS, 4, 5, needed=range(i, 4, processes)) for i in range(processes)]
    for _ in range(6):
        expected, found = next(whole), [next(part) for part in parts]
        assert all(np.array_equal(one.segment_ids, expected.segment_ids) for one in found)
        for name in ("tokens", "labels", "weights", "turns"):
            assert np.array_equal(sum(one[name] for one in found), expected[name])
            assert not any(one[name][(i + 1) % processes].any() for i, one in enumerate(found))
    assert [part.state() for part in parts] == [whole.state()] * processes
    passes = zip(batches(ROWS, 4), batches(ROWS, 4, {0, 1}), batches(ROWS, 4, {2, 3}), strict=True)
    assert all(np.array_equal(one.tokens, other.tokens + third.tokens) for one, other, third in passes)


@pytest.mark.parametrize("change", [{"batch_size": 2}, {"seed": 6}, {"rows": ROWS[:-1]}])
def test_state_of_other_data_is_refused(change: dict) -> None:
    state = Loader(ROWS, 4, 5).state()
    with pytest.raises(UserError, match="because it changed"):
        Loader(**({"rows": ROWS, "batch_size": 4, "seed": 5} | change)).restore(state)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Loader([], 4, 0)


def test_one_pass_fills_the_last_batch_with_nothing() -> None:
    passes = list(batches(ROWS, 4))
    assert [ids(batch)[:2] for batch in passes] == [[0, 1], [4, 5], [8, 9]]
    assert sum(batch.turns.sum() for batch in passes) == sum(row.examples[0].turns for row in ROWS)
    assert passes[-1].tokens.shape == (4, 8)
    assert not passes[-1].weights[2:].any()
    assert not passes[-1].segment_ids[2:].any()
