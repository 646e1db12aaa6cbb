"""What is held out for evaluation."""

from __future__ import annotations

import random

from tl_jax.data.prompts import Prompt
from tl_jax.rl.held_out import hold_out, trajectory_of
from tl_jax.tooluse.schema import Case


def prompts(trajectories: int, points: int = 3) -> list[Prompt]:
    return [Prompt(Case(f"t{i}#{point}", (), ()), (1,)) for i in range(trajectories) for point in range(points)]


def ids(found: list[Prompt]) -> set[str]:
    return {prompt.case.id for prompt in found}


def test_trajectories_are_held_out_whole() -> None:
    every = prompts(40)
    found = hold_out(every, share=0.1, count=100)
    assert len(found.trajectories) == 4
    assert ids(found.training) | ids(found.evaluation) == ids(every)
    of_evaluation = {trajectory_of(one) for one in ids(found.evaluation)}
    assert of_evaluation == set(found.trajectories)
    assert of_evaluation.isdisjoint({trajectory_of(one) for one in ids(found.training)})
    assert "12 prompts of 4 trajectories" in found.line
    assert all(repr(name) in found.line for name in found.trajectories[:3])


def test_the_same_ones_in_any_order_and_no_more_than_are_wanted() -> None:
    every = prompts(40)
    shuffled = random.Random(0).sample(every, len(every))
    assert hold_out(shuffled, 0.1, 100).trajectories == hold_out(every, 0.1, 100).trajectories
    few = hold_out(every, 0.5, count=4)
    assert len(few.evaluation) == 6  # the second trajectory makes it enough
    assert set(few.trajectories) < set(hold_out(every, 0.5, count=100).trajectories)


def test_there_is_always_something_to_train_on() -> None:
    alone = hold_out(prompts(1), 0.5, 10)
    assert (len(alone.training), alone.evaluation) == (3, [])
    assert "evaluated on training prompts" in alone.line
    assert len(hold_out(prompts(2), 0.9, 10).training) == 3
    assert hold_out(prompts(9), 0.0, 10).evaluation == []


def test_cases_stand_for_themselves() -> None:
    cases = [Prompt(Case(f"question {i}", (), ()), (1,)) for i in range(10)]
    assert len(hold_out(cases, 0.2, 10).evaluation) == 2
