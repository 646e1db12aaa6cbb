"""Groups of answers that teach nothing give way to answers to other prompts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import ConfigError, RlConfig, load_config
from tl_jax.data.prompts import Prompt
from tl_jax.errors import UserError
from tl_jax.rl.advantages import Group
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.groups import GroupSampler, Rollout, differ
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.state import RlState
from tl_jax.rl.waiting import NO_WATCH
from tl_jax.tooluse.schema import Case

STATE = RlState(
    step=jnp.int32(4),
    trainable={"actor": {}},
    frozen={},
    opt_state={},
    key=jax.random.key_data(jax.random.key(1)),
    kl_coef=jnp.float32(0),
)
COUNT = 10


def earned(prediction: str, case: Case) -> float:
    """A user's reward: the answer is the reward."""
    if prediction == "fails":
        raise RuntimeError("no such answer")
    return float(prediction)


class Worker:
    """Answers a prompt with what ``answers`` has for it, turn by turn."""

    watch = NO_WATCH

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]
        self.keys: set[bytes] = set()

    def __call__(self, params: Any, prompts: list[Prompt], key: jax.Array) -> list[Episode]:
        self.keys.add(jax.random.key_data(key).tobytes())
        self.asked.append([prompt.case.id for prompt in prompts[::2]])
        episodes, before = [], ""
        for prompt in prompts:
            number = 1 if prompt.case.id == before else 0
            before = "" if number else prompt.case.id
            episode = Episode.begin(prompt)
            turns = [Turn(prompt.case, text, True, 0, (5,), (0.0,)) for text in self.answers[prompt.case.id][number]]
            episode.turns += turns
            episodes.append(episode)
        return episodes


def sampler(answers: dict[str, list[list[str]]], *settings: str) -> tuple[GroupSampler, Worker, PromptSampler]:
    base = ["run_dir=r", "model.path=m", "data.path=d", "group_size=2", "batch_size=3", f"reward={__name__}:earned"]
    estimator = ["algorithm.estimator=grpo", "algorithm.kl_in=loss", "algorithm.reward_clip=null"]
    config = load_config(RlConfig, [], [*base, *estimator, *settings])
    order = PromptSampler([Prompt(Case(f"c{i}", (), ()), (i,)) for i in range(COUNT)], config.batch_size, 0)
    worker = Worker(answers)
    return GroupSampler(config, worker, make_rubric(config), order), worker, order  # type: ignore[arg-type]


def rollout(groups: GroupSampler) -> Rollout:
    return groups.rewarded(groups.sample(STATE))


def in_turn(count: int) -> list[str]:
    """The first prompts of the queue."""
    return [f"c{index}" for index in sampler({})[2].more(count)]


EQUAL, DIFFERENT = [["1"], ["1"]], [["1"], ["0"]]


def answering(*different: int) -> dict[str, list[list[str]]]:
    """Answers of which only those to some of the queue's first prompts differ."""
    return {name: DIFFERENT if place in different else EQUAL for place, name in enumerate(in_turn(COUNT))}


def test_groups_of_equal_rewards_give_way_to_the_next_prompts() -> None:
    """Of 0, 1, 2 only 1 differs; then 3 does and 4 not; then 5."""
    groups, worker, order = sampler(answering(1, 3, 5), "max_resamples=5")
    found = rollout(groups)
    ids = [group.episodes[0].case.id for group in found.groups]
    queue = in_turn(6)
    assert ids == [queue[3], queue[1], queue[5]]
    assert worker.asked == [queue[:3], queue[3:5], queue[5:6]]
    assert len(worker.keys) == 3
    assert found.replaced == 3
    assert order.state()["drawn"] == 6


@pytest.mark.parametrize("times", [0, 1, 2])
def test_there_is_a_limit_to_it(times: int) -> None:
    groups, worker, _ = sampler(answering(1), f"max_resamples={times}")
    found = rollout(groups)
    assert len(found.groups) == 3
    assert [len(asked) for asked in worker.asked] == [3, *[2] * times]
    assert found.replaced == 2 * times


def test_nothing_is_sampled_again_where_every_group_teaches() -> None:
    groups, worker, _ = sampler(answering(0, 1, 2), "max_resamples=3")
    found = rollout(groups)
    assert len(worker.asked) == 1
    assert found.replaced == 0


def test_a_group_that_failed_gives_way_but_not_one_that_failed_in_part() -> None:
    answers = answering(2, 3)
    first, second, *_ = in_turn(COUNT)
    answers |= {first: [["fails"], ["fails"]], second: [["fails"], ["1"]]}
    groups, worker, _ = sampler(answers, "max_resamples=1", "faults.retries=0")
    found = rollout(groups)
    assert worker.asked[1] == in_turn(5)[3:]  # for both: one answer alone is like itself
    assert not any(rewards.dropped for rewards in found.rewards)
    answers = {name: [["fails"], ["fails"]] for name in in_turn(COUNT)}
    nothing, _, _ = sampler(answers, "max_resamples=1", "faults.retries=0")
    with pytest.raises(UserError, match="all 6 episodes failed"):
        rollout(nothing)


SAME_SUM = [["1", "0"], ["0", "1"]]


@pytest.mark.parametrize(
    ("settings", "teaches"),
    [
        ([], False),
        (["algorithm.advantage_scope=turn"], True),
        (["algorithm.estimator=reinforce++"], True),
        (["algorithm.estimator=gdpo"], False),
    ],
)
def test_what_differs_is_what_the_estimator_compares(settings: list[str], teaches: bool) -> None:
    groups, worker, _ = sampler(dict.fromkeys(in_turn(COUNT), SAME_SUM), "max_resamples=1", *settings)
    rollout(groups)
    assert len(worker.asked) == (1 if teaches else 2)


def by_hand(prediction: str, case: Case) -> float:
    """A second reward that makes up for the first."""
    return 1.0 - float(prediction)


@pytest.mark.parametrize(("estimator", "teaches"), [("grpo", False), ("gdpo", True)])
def test_rewards_that_are_compared_apart_differ_apart(estimator: str, teaches: bool) -> None:
    both = f"reward={{{__name__}:earned: 1, {__name__}:by_hand: 1}}"
    groups, worker, _ = sampler(answering(*range(COUNT)), "max_resamples=1", both, f"algorithm.estimator={estimator}")
    rollout(groups)
    assert len(worker.asked) == (1 if teaches else 2)


def makes_up_for_it(episode: Episode) -> float:
    """An outcome after which all episodes have earned the same."""
    return 1.0 - sum(float(turn.text) for turn in episode.turns)


@pytest.mark.parametrize(("scope", "teaches"), [("episode", False), ("turn", True)])
def test_outcomes_are_compared_apart_from_turns(scope: str, teaches: bool) -> None:
    answers = {name: [["1"], ["0"]] for name in in_turn(COUNT)}
    outcome = f"episode_reward={__name__}:makes_up_for_it"
    groups, worker, _ = sampler(answers, "max_resamples=1", outcome, f"algorithm.advantage_scope={scope}")
    rollout(groups)
    assert len(worker.asked) == (1 if teaches else 2)


def test_the_curriculum_learns_of_all_that_were_answered() -> None:
    groups, _, order = sampler(answering(1, 3, 5), "max_resamples=5")
    seen: dict[int, list[float]] = {}
    order.observe = lambda prompt, scores: seen.update({prompt: list(scores)})  # type: ignore[method-assign]
    rollout(groups)
    queue = sampler({})[2].more(6)
    assert seen == {prompt: [1, 0] if place in (1, 3, 5) else [1, 1] for place, prompt in enumerate(queue)}


@pytest.mark.parametrize("returns", [[1.0, 1.0], [0.1 + 0.2, 0.3], [1.0, 2.0]])
def test_host_and_device_agree_on_what_is_equal(returns: list[float]) -> None:
    equal = Group.of(jnp.array(returns, jnp.float32), 2).equal
    assert differ([np.array([value]) for value in returns]) != bool(equal[0])


@pytest.mark.parametrize("setting", ["max_resamples=1", "curriculum.share=0.5"])
def test_answers_have_to_be_compared(setting: str) -> None:
    with pytest.raises(ConfigError, match="set group_size to 2 or more"):
        load_config(RlConfig, [], ["run_dir=r", "model.path=m", "data.path=d", setting])
