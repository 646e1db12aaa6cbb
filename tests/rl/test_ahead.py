"""Rollouts that are sampled before their turn: with which parameters and keys, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import RlConfig, load_config
from tl_jax.data.prompts import Prompt
from tl_jax.rl import rubric as rubrics
from tl_jax.rl.ahead import RolloutQueue
from tl_jax.rl.curriculum import CurriculumConfig
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.groups import GroupSampler, Rollout
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.state import RlState
from tl_jax.rl.waiting import NO_WATCH
from tl_jax.tooluse.schema import Case, Message
from tl_jax.training.stop import Interrupted

STEPS = 6


def state(done: int) -> RlState:
    """After so many steps, each of which changes the actor."""
    return RlState(
        step=jnp.int32(done),
        trainable={"actor": {"norm": jnp.float32(done)}},
        frozen={},
        opt_state={},
        key=jax.random.key_data(jax.random.key(1)),
        kl_coef=jnp.float32(0),
    )


class Worker:
    """Answers with numbers drawn from the key, and says in the text which parameters there were."""

    watch = NO_WATCH

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def __call__(self, params: Any, prompts: Sequence[Prompt], key: jax.Array) -> list[Episode]:
        self.keys.append(jax.random.key_data(key).tobytes())
        numbers = np.random.default_rng(np.asarray(jax.random.key_data(key))).integers(0, 2, len(prompts))
        episodes = [Episode.begin(prompt) for prompt in prompts]
        for episode, number in zip(episodes, numbers.tolist(), strict=True):
            turn = Turn(episode.case, f"{int(params['norm'])} {number}", True, 0, (number,), (-0.1,))
            episode.end(turn)
        return episodes


GIVEN: list[str] = []
FAILS: list[BaseException] = []


def number(prediction: str, case: Case) -> float:
    """A user's reward: the number that was drawn."""
    if FAILS:
        raise FAILS[0]
    GIVEN.append(prediction)
    return float(prediction.split()[1])


@pytest.fixture(autouse=True)
def _nothing_given() -> None:
    GIVEN.clear()
    FAILS.clear()


def queue(*settings: str) -> tuple[RolloutQueue, PromptSampler, Worker]:
    base = ["run_dir=r", "model.path=m", "data.path=d", "group_size=2", "batch_size=4", f"steps={STEPS}"]
    off = ["algorithm.steps_off_policy=1", "algorithm.importance_cap=2", f"reward={__name__}:number"]
    config = load_config(RlConfig, [], [*base, *off, "curriculum.share=0.5", *settings])
    asked = [Prompt(Case(f"c{index}", (), (Message("user", str(index)),)), (index,)) for index in range(9)]
    prompts = PromptSampler(asked, config.batch_size, 0, CurriculumConfig(share=0.5))
    rubric, worker = rubrics.make_rubric(config), Worker()
    return RolloutQueue(config, GroupSampler(config, worker, rubric, prompts), rubric), prompts, worker  # type: ignore[arg-type]


def told(rollout: Rollout) -> Any:
    """All that can be compared."""
    return [(one.prompt, one.episodes, [x.to_json() for x in one.rewards or ()]) for one in rollout.groups]


def test_a_step_learns_from_what_the_policy_before_its_last_update_says() -> None:
    """With the keys that the same rollouts have on-policy, where each is sampled by the latest policy."""
    ahead, _, worker = queue()
    found = []
    for step in range(1, STEPS + 1):
        rollout = ahead.next(step, state(step - 1))
        ahead.reward()
        found.append(({one.turns[0].text.split()[0] for one in rollout.episodes}, rollout.staleness))
    assert found == [({"0"}, 0), ({"0"}, 1), ({"1"}, 1), ({"2"}, 1), ({"3"}, 1), ({"4"}, 1)]
    now, _, current = queue("algorithm.steps_off_policy=0")
    for step in range(1, STEPS + 1):
        rollout = now.next(step, state(step - 1))
        assert {one.turns[0].text.split()[0] for one in rollout.episodes} == {str(step - 1)}
        assert rollout.staleness == 0
    assert worker.keys == current.keys
    assert len(set(current.keys)) == STEPS  # and none after the last step


def test_what_is_sampled_ahead_is_rewarded_while_the_step_runs() -> None:
    ahead, _, _ = queue()
    ahead.next(1, state(0))
    assert len(GIVEN) == 8
    ahead.reward()
    assert len(GIVEN) == 16
    ahead.next(2, state(1))
    assert len(GIVEN) == 16


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("settings", [(), ("max_resamples=2",)])
def test_it_goes_on_from_what_a_checkpoint_holds(at: int, settings: tuple[str, ...]) -> None:
    whole, prompts, _ = queue(*settings)
    expected, saved = [], ""
    for step in range(1, STEPS + 1):
        expected.append(told(whole.next(step, state(step - 1))))
        whole.reward()
        if step == at:
            saved = json.dumps([prompts.state(), whole.state()])
    again, prompts, _ = queue(*settings)
    place, kept = json.loads(saved)
    prompts.restore(place)
    again.restore(kept, pytest.fail)
    for step in range(at + 1, STEPS + 1):
        assert told(again.next(step, state(step - 1))) == expected[step - 1]
        again.reward()
    assert again.state() == whole.state() == {}


@pytest.mark.parametrize("failure", [ZeroDivisionError("no"), Interrupted()])
def test_a_step_ends_although_rewards_of_the_next_one_fail_and_they_are_given_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step has changed the parameters and has to be saved, with what was sampled."""
    ahead, prompts, _ = queue("faults.on_error=raise", "faults.retries=0")
    ahead.next(1, state(0))
    if isinstance(failure, Interrupted):  # as of a watch
        monkeypatch.setattr(rubrics, "agreed", lambda make: None)
    else:
        FAILS.append(failure)
    ahead.reward()
    saved = json.dumps([prompts.state(), ahead.state()])
    with pytest.raises(type(failure)):
        ahead.next(2, state(1))
    monkeypatch.undo()
    FAILS.clear()
    again, prompts, _ = queue()
    place, kept = json.loads(saved)
    prompts.restore(place)
    again.restore(kept, pytest.fail)
    whole, _, _ = queue()
    whole.next(1, state(0))
    whole.reward()
    for step in (2, 3):
        assert told(again.next(step, state(step - 1))) == told(whole.next(step, state(step - 1)))
        again.reward()
        whole.reward()


@pytest.mark.parametrize("setting", ["group_size=4", "algorithm.steps_off_policy=0", "algorithm.missing_eos_penalty=1"])
def test_what_does_not_fit_the_settings_any_more_is_left_out(setting: str) -> None:
    ahead, _, _ = queue()
    ahead.next(1, state(0))
    ahead.reward()
    other, _, _ = queue(setting)
    lines: list[str] = []
    other.restore(ahead.state(), lines.append)
    assert lines == ["the rollout that was sampled ahead is of other settings and not learnt from"]
    assert other.next(2, replace(state(1))).staleness == 0


def _older(kept: dict[str, Any]) -> None:
    for group in kept["rollout"]["groups"]:
        for episode in group["episodes"]:
            del episode["prompt_length"]


def _newer(kept: dict[str, Any]) -> None:
    for group in kept["rollout"]["groups"]:
        for episode in group["episodes"]:
            episode["more"] = 1


def _damaged(kept: dict[str, Any]) -> None:
    kept["rollout"]["cases"].clear()


@pytest.mark.parametrize("change", [_older, _newer, _damaged])
def test_what_cannot_be_read_is_left_out_in_one_line(change: Callable[[dict[str, Any]], None]) -> None:
    ahead, _, _ = queue()
    ahead.next(1, state(0))
    ahead.reward()
    kept = json.loads(json.dumps(ahead.state()))
    change(kept)
    other, _, _ = queue()
    lines: list[str] = []
    other.restore(kept, lines.append)
    (line,) = lines
    assert re.fullmatch(r"the rollout that was sampled ahead cannot be read \(\w+: .+\) and is not learnt from", line)
    assert other.next(2, state(1)).staleness == 0
