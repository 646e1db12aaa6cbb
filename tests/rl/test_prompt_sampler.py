"""Which prompts are answered next, and that a run which is continued answers the same ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tl_jax.config.curriculum import CurriculumConfig
from tl_jax.data.prompts import Prompt
from tl_jax.errors import UserError
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.tooluse.schema import Case

PROMPTS = [Prompt(Case(f"c{index}", (), ()), (index,)) for index in range(6)]


def sampler(share: float = 0.0, batch_size: int = 2, seed: int = 3) -> PromptSampler:
    return PromptSampler(PROMPTS, batch_size, seed, CurriculumConfig(share=share))


def test_every_epoch_visits_every_prompt_once_in_a_new_order() -> None:
    order = sampler()
    epochs = [[prompt for _ in range(3) for prompt in order.rollout()] for _ in range(4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_more_prompts_are_taken_from_the_queue_not_from_later_epochs() -> None:
    order, plain = sampler(), sampler()
    taken = [*order.rollout(), *order.more(3), *order.rollout(), *order.more(5)]
    assert taken == [prompt for _ in range(6) for prompt in plain.rollout()]


def test_an_order_that_changed_cannot_be_continued() -> None:
    state = sampler().state()
    sampler().restore(state)
    with pytest.raises(UserError, match="prompts: 6 then, 5 now"):
        PromptSampler(PROMPTS[:5], 2, 3).restore(state)


def test_the_place_of_an_older_run_is_understood() -> None:
    """It said how many rollouts there had been, of a batch each."""
    order, plain = sampler(), sampler()
    for _ in range(5):
        plain.rollout()
    order.restore({"prompts": 6, "batch_size": 2, "seed": 3, "step": 5})
    assert order.rollout() == plain.rollout()


def rollouts(order: PromptSampler, stop: int, start: int = 0) -> list[list[int]]:
    """Prompts of some rollouts; what is earned depends on the prompt, and every other rollout takes one more."""
    found: list[list[int]] = []
    for number in range(start, stop):
        found.append(order.rollout() + order.more(number % 2))
        for prompt in found[-1]:
            order.observe(prompt, [0.1 * prompt, 1 / (1 + prompt + number)])
    return found


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_run_that_is_continued_answers_the_same_prompts(share: float) -> None:
    whole = rollouts(sampler(share, batch_size=4), 9)
    for stop in (1, 6):
        before, after = sampler(share, batch_size=4), sampler(share, batch_size=4)
        found = rollouts(before, stop)
        saved: Any = before.state()
        before.rollout()  # what was kept is a copy
        after.restore(json.loads(json.dumps(saved)))
        assert found + rollouts(after, 9, start=stop) == whole


def test_a_share_of_the_prompts_is_out_of_turn_and_none_twice() -> None:
    order = sampler(share=0.5, batch_size=4)
    first = order.rollout()
    assert len(set(first)) == 4  # nothing is known: all in turn
    order.observe(first[0], [0.0, 1.0])
    order.observe(first[1], [1.0, 1.0])
    assert order.state()["drawn"] == 4
    second = order.rollout()
    assert order.state()["drawn"] == 4 + (2 if first[0] in second[:2] else 3)
    assert first[0] in second
    assert len(second) == 4
