"""Beginnings that several examples of a row share: what each of them reads stays what it is."""

from __future__ import annotations

import json
import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.data.batch import Batch
from tl_jax.data.loader import Loader
from tl_jax.data.packing import PackedRows, Row, RowPlan, collate, plan_rows
from tl_jax.data.prefixes import STEP, Prefixes, plan_shared_rows, prefix_hashes
from tl_jax.data.supervision import Example

LENGTH = 8 * STEP


def example(name: str, beginning: list[int], own: int, context: int = 0) -> Example:
    """After ``beginning`` and ``context`` tokens of which nothing is learnt ``own`` others, all of them targets."""
    random = np.random.default_rng([ord(letter) for letter in name])
    tokens = np.array([*beginning, *random.integers(3, 90, context + own)], np.int32)
    weights = np.zeros(len(tokens), np.float32)
    weights[len(tokens) - own :] = 1 / own
    labels = random.integers(3, 90, len(tokens)).astype(np.int32)
    return Example(name, tokens, labels, weights, 1.0)


def prefixes_of(examples: list[Example]) -> Prefixes:
    found = [prefix_hashes(one) for one in examples]
    return Prefixes(np.array([h for one in found for h in one], np.uint64), np.array([len(one) for one in found]))


def planned(examples: list[Example], at_least: int = STEP, length: int = LENGTH) -> RowPlan:
    return plan_shared_rows([len(one.tokens) for one in examples], prefixes_of(examples), length, at_least)


def rows_of(examples: list[Example], plan: RowPlan, length: int = LENGTH) -> PackedRows:
    lengths = np.array([len(one.tokens) for one in examples])
    return PackedRows(lambda numbers: tuple(examples[n] for n in numbers), lengths, length, plan)


def seen_by(batch: Batch, row: int, place: int) -> list[int]:
    """Tokens that one sees, in the order of positions, by the definition of `AttentionMask`."""
    same = batch.segment_ids[row] == batch.segment_ids[row, place]
    same &= batch.positions[row] <= batch.positions[row, place]
    if batch.branches is not None:
        same &= np.isin(batch.branches[row], (0, batch.branches[row, place]))
    order = np.argsort(batch.positions[row][same], kind="stable")
    assert np.array_equal(batch.positions[row][same][order], np.arange(same.sum()))  # each position once
    return batch.tokens[row][same][order].tolist()


def targets_in(batch: Batch) -> list[tuple[tuple[int, ...], int, float]]:
    """All that is learnt: after which tokens, what, and how much it counts."""
    places = np.argwhere(batch.weights > 0).tolist()
    return sorted(
        (tuple(seen_by(batch, *place)), int(batch.labels[*place]), float(batch.weights[*place])) for place in places
    )


@st.composite
def families(draw: st.DrawFn) -> list[Example]:
    """Examples that go on from one of a few beginnings, which go on from one another, at any point of them."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    trunk = random.integers(3, 90, 5 * STEP).tolist()
    other = [*trunk[: 2 * STEP + 5], *random.integers(3, 90, 2 * STEP).tolist()]
    chosen = draw(
        st.lists(
            st.tuples(st.booleans(), st.integers(1, 4 * STEP), st.integers(0, 80), st.integers(1, 30)),
            min_size=1,
            max_size=8,
        )
    )
    return [
        example(f"{index}", (other if second else trunk)[:cut], own, context)
        for index, (second, cut, context, own) in enumerate(chosen)
    ]


@given(examples=families(), at_least=st.integers(1, 3 * STEP))
def test_what_is_learnt_is_the_same_and_after_the_same_tokens(examples: list[Example], at_least: int) -> None:
    plan, apart = planned(examples, at_least), plan_rows([len(one.tokens) for one in examples], LENGTH)
    assert sorted(plan.order.tolist()) == list(range(len(examples)))
    rows, without = rows_of(examples, plan), rows_of(examples, apart)
    batch, expected = collate(rows), collate(without)
    assert targets_in(batch) == targets_in(expected)
    assert batch.turns.sum() == expected.turns.sum() == len(examples)
    shared = [] if plan.skipped is None else plan.skipped[plan.skipped > 0].tolist()
    assert (batch.segment_ids > 0).sum() == (expected.segment_ids > 0).sum() - sum(shared)
    assert all(number % STEP == 0 and number >= at_least for number in shared)
    assert sum(row.used for row in rows) == (batch.segment_ids > 0).sum()
    assert (batch.branches is None) == (not shared)


def test_a_beginning_stands_once_and_what_follows_beside_each_other() -> None:
    beginning = list(range(3, 3 + STEP))
    one, two, alone = example("a", beginning, 2), example("b", beginning, 3), example("c", [7], 4)
    plan = planned([one, alone, two], length=80)
    (row,) = rows_of([one, alone, two], plan, 80)
    assert (row.skipped, row.sizes) == ((0, STEP, 0), (STEP + 2, 3, 5))
    batch = collate([row])
    tail = slice(STEP, STEP + 11)
    assert batch.tokens[0, :STEP].tolist() == beginning
    assert batch.tokens[0, tail].tolist() == [*one.tokens[-2:], *two.tokens[-3:], *alone.tokens, 0]
    assert batch.segment_ids[0, tail].tolist() == [1] * 5 + [2] * 5 + [0]
    assert batch.positions[0, tail].tolist() == [STEP, STEP + 1, STEP, STEP + 1, STEP + 2, 0, 1, 2, 3, 4, 0]
    assert batch.branches[0, tail].tolist() == [1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert not batch.branches[0, :STEP].any()


def test_the_first_target_is_never_shared() -> None:
    """Its loss would count once for all of them."""
    tokens = np.arange(3 * STEP, dtype=np.int32)
    for target, shared in ((2 * STEP, 2), (2 * STEP - 1, 1), (0, 0)):
        weights = np.zeros(len(tokens), np.float32)
        weights[target] = 1
        found = prefix_hashes(Example("e", tokens, tokens, weights, 1.0))
        assert len(found) == shared
    assert len(prefix_hashes(Example("e", tokens, tokens, np.zeros(len(tokens), np.float32), 0.0))) == 0


def test_whichever_saves_more_is_shared() -> None:
    """What all have, or what each part of them has."""
    trunk, long, other = ([start] * (4 * STEP) for start in (5, 6, 7))
    near = [example(f"{i}", [*trunk[:STEP], *long], 5) for i in range(2)]
    far = [example(f"{i}", [*trunk[:STEP], *other], 5) for i in (2, 3)]
    plan = planned([*near, *far], length=7 * STEP)
    assert plan.skipped is not None
    assert sorted(plan.skipped.tolist()) == [0, 0, 5 * STEP, 5 * STEP]  # two pairs, and no row of all
    many = [example(f"{i}", [*trunk[: 2 * STEP], *([i + 50] * (STEP if i < 2 else 0))], 5) for i in range(9)]
    many[1] = example("1", many[0].tokens[: 3 * STEP].tolist(), 5)
    plan = planned(many)
    assert plan.skipped is not None
    assert sorted(plan.skipped.tolist()) == [0] + [2 * STEP] * 8  # all in one row, although two share more


def test_rows_are_those_of_no_sharing_where_nothing_is_shared() -> None:
    examples = [example(f"{i}", [i + 3] * (i * 20), 9) for i in range(12)]
    lengths = [len(one.tokens) for one in examples]
    plan, expected = planned(examples), plan_rows(lengths, LENGTH)
    assert np.array_equal(plan.order, expected.order)
    assert np.array_equal(plan.starts, expected.starts)
    assert plan.skipped is None
    assert planned([example(f"{i}", [3] * 2 * STEP, 9) for i in range(4)], 2 * STEP + 1).skipped is None  # too short


def test_rows_of_other_processes_have_their_branches() -> None:
    examples = [example(f"{i}", [3 + i // 4] * (3 * STEP), 30) for i in range(8)]
    rows = rows_of(examples, planned(examples))
    whole, part = collate(rows), collate(rows, needed={1})
    for name in ("segment_ids", "positions", "branches"):
        assert np.array_equal(part[name], whole[name])
    assert np.array_equal(part.tokens[1], whole.tokens[1])
    assert whole.branches.any()
    assert not part.tokens[0].any()
    assert collate([Row((), LENGTH), rows[0]]).branches is not None


def test_training_goes_on_where_it_was() -> None:
    """With the same rows in the same order: what shares a row is planned anew and comes out the same."""
    examples = [example(f"{i}", [3 + i // 4] * (3 * STEP), 30) for i in range(24)]
    loaders = [Loader(rows_of(examples, planned(examples)), 2, seed=1) for _ in range(2)]
    for _ in range(4):
        next(loaders[0])
    loaders[1].restore(json.loads(json.dumps(loaders[0].state())))
    for one, other in islice(zip(*loaders, strict=True), 5):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_hashes_that_are_equal_by_chance_teach_nothing_wrong() -> None:
    examples = [example("a", [3] * STEP, 5), example("b", [4] * STEP, 5)]
    hashes = Prefixes(np.array([1, 1], np.uint64), np.array([1, 1]))
    plan = plan_shared_rows([len(one.tokens) for one in examples], hashes, LENGTH, STEP)
    with pytest.raises(ValueError, match=r"'[ab]' does not begin with the 64 tokens of '[ab]'"):
        collate(rows_of(examples, plan))


def test_many_examples_are_planned_in_seconds() -> None:
    """Of 300 sets of tools; a million examples take ten."""
    random = np.random.default_rng(0)
    counts = random.integers(4, 20, 300)[kinds := random.integers(0, 300, 20_000)]
    hashes = np.concatenate([1000 * kind + np.arange(count) for kind, count in zip(kinds, counts, strict=True)])
    lengths = counts * STEP + random.integers(50, 700, len(counts))
    before = time.process_time()
    plan = plan_shared_rows(lengths, Prefixes(hashes.astype(np.uint64), counts), 2048, 256)
    assert time.process_time() - before < 3
    assert plan.skipped is not None
    assert np.array_equal(np.sort(plan.order), np.arange(len(lengths)))
    assert len(plan) < 0.75 * len(plan_rows(lengths, 2048))
