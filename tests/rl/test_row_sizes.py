"""The sizes of rows that a run compiles its step for: few, and not at any price."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tl_jax.rl.batch import collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import Layout, planned
from tl_jax.rl.row_sizes import WORTH, Arrangement, RowSize, RowSizes
from tl_jax.rl.rows import arrange
from tl_jax.tooluse.schema import Case

CASE = Case("c", (), ())


def rollouts(count: int, prompts: int, group: int = 8) -> list[list[Episode]]:
    """Prompts of 100 to 3,500 tokens, most of them short, and answers of 5 to 200."""
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        episodes = []
        for length in np.exp(random.uniform(np.log(100), np.log(3500), prompts)).astype(int).tolist():
            for answer in np.clip(random.lognormal(np.log(40), 0.6, group), 5, 200).astype(int).tolist():
                turn = Turn(CASE, "", True, length - 1, (7,) * answer, (0.0,) * answer)
                episodes.append(Episode(CASE, [5] * length + [7] * answer, length, [turn]))
        found.append(episodes)
    return found


@pytest.mark.parametrize(("prompts", "group", "devices", "minibatches"), [(16, 8, 1, 2), (16, 8, 8, 2), (64, 1, 8, 4)])
def test_a_run_has_few_sizes_and_reads_little_more(prompts: int, group: int, devices: int, minibatches: int) -> None:
    layout = Layout(group, 1, minibatches, devices)
    sizes, alone, together, best = RowSizes(), set(), set(), 0
    cost = 0
    for number, episodes in enumerate(rollouts(60, prompts, group)):
        single, plan = planned(episodes, layout, number), planned(episodes, layout, number, sizes)
        alone.add(single.size)
        together.add(plan.size)
        best, cost = best + single.cost, cost + plan.cost
    assert len(together) <= 5
    assert len(alone) >= 2 * len(together)
    assert together == set(sizes.known)
    assert cost <= best * (1 + (WORTH * len(together) + 1) / 60)
    assert cost <= 1.15 * best


def size(length: int, parts: int = 4, keeps: int = 2, branches: bool = True) -> RowSize:
    return RowSize(length, 1, parts, keeps, branches)


def test_a_size_is_added_when_the_others_have_cost_too_much() -> None:
    """A rollout that reads twice as much as it has to is the waste of one."""
    sizes, best = RowSizes(), Arrangement(100, size(128), [])
    assert sizes.chosen(best, []).size == size(128)
    twice = Arrangement(200, size(256), [])
    sizes = RowSizes([size(256)])
    for _ in range(WORTH):
        assert sizes.chosen(best, [(size(256), twice)]) == twice
    assert sizes.chosen(best, [(size(256), twice)]) == best
    assert sizes == RowSizes([size(256), size(128)])


@pytest.mark.parametrize("needs", [size(256, parts=8), size(256, keeps=1), size(256, branches=True)])
def test_what_has_no_room_in_a_size_is_not_put_there(needs: RowSize) -> None:
    sizes = RowSizes([size(256, branches=False)])
    best = Arrangement(90, size(128), [])
    assert sizes.chosen(best, [(sizes.known[0], Arrangement(90, needs, []))]) == best
    roomy = size(256, parts=1, keeps=8, branches=False)
    assert sizes.chosen(best, [(sizes.known[0], Arrangement(90, roomy, []))]).size == sizes.known[0]


def test_rows_are_of_the_size_whatever_is_in_them() -> None:
    """Nothing is shared in the second rollout, and it would have room in shorter rows."""
    layout, sizes = Layout(2, 1, 1, 2), RowSizes()
    shared = [Episode(CASE, [5] * 600 + [7] * 20, 600) for _ in range(8)]
    first = arrange(shared, 33, layout, 0, sizes)
    own = [Episode(CASE, [number] * 150 + [7] * 20, 150) for number in range(2, 10)]
    assert arrange(own, 33, layout, 0).branches is None
    second = arrange(own, 33, layout, 0, sizes)
    assert second.tokens.shape == first.tokens.shape
    assert second.most == first.most
    assert second.branches is not None


def test_columns_never_become_fewer() -> None:
    long, short = (
        [Episode(CASE, [5] * 9 + [7] * wrote, 9, [Turn(CASE, "", True, 8, (7,) * wrote, (0.0,) * wrote)])]
        for wrote in (40, 3)
    )
    sizes, reward = RowSizes(), [np.zeros((1, 1), np.float32)]
    assert [collate(one, reward, sizes=sizes).mask.shape for one in (short, long, short)] == [(1, 9), (1, 49), (1, 49)]


def test_a_run_that_goes_on_chooses_as_if_it_had_not_ended() -> None:
    layout, through, stopped = Layout(8, 1, 2, 8), RowSizes(), RowSizes()
    for number, episodes in enumerate(rollouts(12, 16)):
        stopped = RowSizes.of(json.loads(json.dumps(stopped.state())))
        assert planned(episodes, layout, number, stopped).size == planned(episodes, layout, number, through).size
    assert stopped == through
    assert RowSizes.of({}) == RowSizes()
