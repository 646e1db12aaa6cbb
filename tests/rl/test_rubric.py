"""What turns and episodes are worth."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tl_jax.config import RlConfig, load_config
from tl_jax.errors import UserError
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.faults import FaultyResult
from tl_jax.rl.rubric import EpisodeRewards, make_rubric, resolve_reward
from tl_jax.rl.waiting import Watch
from tl_jax.tooluse.rewards.score import Reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.training.stop import Interrupted

CASE = Case("c", (Tool("go"),), (Message("user", "go"),), ((Call("go"),),))


def third(prediction: str, case: Case) -> float:
    """A user's reward of a turn."""
    return 1 / 3 if case.id == "c" else float("nan")


def by_length(prediction: str, case: Case, scale: float, floor: float = 0.0) -> float:
    """A user's reward with options."""
    return max(len(prediction) * scale, floor)


def turns_squared(episode: Episode) -> float:
    """A user's reward of an episode."""
    return len(episode.turns) ** 2 / 10


def turns_times(episode: Episode, *, factor: float) -> float:
    """A user's reward of an episode with an option."""
    return len(episode.turns) * factor


def turn(text: str, finished: bool = True, case: Case = CASE, result: str | None = None) -> Turn:
    calls = (Call("go"),) if result is not None else ()
    return Turn(case, text, finished, 0, (5,), (0.0,), calls, (result,) if result is not None else ())


def episode(*turns: Turn) -> Episode:
    return Episode(CASE, [], 0, list(turns))


def rewards(**settings: Any) -> Any:
    base = {"run_dir": "r", "model.path": "m", "data.path": "d"}
    settings = {name.replace("__", "."): value for name, value in settings.items()}
    return make_rubric(load_config(RlConfig, [], [f"{k}={v}" for k, v in (base | settings).items()]))


def test_by_profile_and_by_dotted_path() -> None:
    assert resolve_reward("paper")(turn("go() ")).value == 1
    assert resolve_reward("paper")(turn("stop() ")).value == -2
    custom = resolve_reward(f"{__name__}:third")
    assert custom(turn("anything")).value == pytest.approx(1 / 3)
    with pytest.raises(FaultyResult, match=r"gave nan for case 'other'"):
        custom(turn("anything", case=Case("other", (), ())))
    with pytest.raises(UserError, match="did you mean 'paper'"):
        resolve_reward("papre")
    with pytest.raises(UserError, match=r"no gold answer.*use live"):
        resolve_reward("paper")(turn("go()", case=Case("none", (), (), (), "none")))


def test_live_reads_what_the_tools_say() -> None:
    live = resolve_reward({"name": "live", "options": {"turn_cost": 0.0}})
    assert live(turn("go()", result='{"city": "Oslo"}')).value == 1
    failed = live(turn("go()", result='{"error": "no tool called go"}'))
    assert (failed.value, failed.category) == (-2, "tool_hallucination")
    assert live(turn("Done.")).category == "no_call"


@pytest.mark.parametrize(
    ("limit", "penalty", "value", "finished", "expected"),
    [
        (5.0, 0.5, -9.0, True, [-5.0, 0.0]),
        (5.0, 0.5, 1.0, False, [1.0, -0.5]),
        (0, 0, 1.0, False, [0.0, 0.0]),
        ("null", "null", -9.5, False, [-9.5]),
    ],
)
def test_limits(limit: Any, penalty: Any, value: float, finished: bool, expected: list[float]) -> None:
    """``null`` switches clip and penalty off; 0 is a limit and a penalty of 0."""
    made = rewards(algorithm__reward_clip=limit, algorithm__missing_eos_penalty=penalty)
    made = replace(made, turn_rewards={"fixed": lambda _: Reward(value, "x", "")})
    assert made(episode(turn("x", finished))).values.tolist() == [expected]


def test_the_limit_is_of_the_weighted_sum_and_of_the_episode() -> None:
    whole = f"{{name: {__name__}:turns_times, options: {{factor: 30}}}}"
    made = rewards(reward="{paper: 10, binary: 4}", episode_reward=whole)
    right, wrong = made(episode(turn("go()"), turn("stop()"))).values
    np.testing.assert_allclose(right, [5 / 14, 5 / 14, 0], rtol=1e-6)  # 10 + 4 is held to 5, shares as they were
    np.testing.assert_allclose(wrong, [-0.5, 0, 5], rtol=1e-6)  # 10 (-2) to -5; 30 (2) to 5
    assert abs(right @ np.array([10, 4, 0])) == pytest.approx(5)


def test_several_rewards_stay_apart() -> None:
    made = rewards(
        reward="{paper: 2.0, live: 0.5}",
        environment="replay",
        episode_reward=f"{__name__}:turns_squared",
        algorithm__reward_clip="null",
    )
    scored = made(episode(turn("go() ", result="fine"), turn("stop() ", result="Error: unknown tool stop")))
    assert made.weights == (2.0, 0.5, 1.0)
    np.testing.assert_allclose(scored.values, [[1, 0.9, 0], [-2, -2.1, 0.4]], rtol=1e-6)
    assert made.total(scored) == pytest.approx(2 * (1 - 2) + 0.5 * (0.9 - 2.1) + 0.4)


def test_kinds_of_rewards_and_those_that_an_estimator_refuses() -> None:
    both = {"algorithm__missing_eos_penalty": 1, "episode_reward": f"{__name__}:turns_squared"}
    assert rewards(reward="{paper: 2.0, binary: 1}", **both).kinds == ("turn", "turn", "penalty", "outcome")
    assert rewards().kinds == ("turn",)
    assert len(rewards(**both).weights) == 3
    settings = {"algorithm__estimator": "maxrl", "algorithm__kl_in": "loss", "group_size": 2}
    assert rewards(reward="binary", **settings)(episode(turn("stop()"))).values.tolist() == [[0]]
    with pytest.raises(UserError, match=r"case 'c' earned -2, but algorithm.estimator wants rewards of 0 and more"):
        rewards(reward="paper", **settings)(episode(turn("stop()")))


def test_rewards_with_options() -> None:
    mine = f"{__name__}:by_length"
    made = rewards(
        reward=f"[{{name: {mine}, options: {{scale: 0.5}}}}, live, "
        f"{{name: {mine}, options: {{scale: 0, floor: 0.25}}, weight: 2}}]",
        environment="replay",
        episode_reward=f"{{name: {__name__}:turns_times, options: {{factor: 3}}}}",
    )
    assert list(made.turn_rewards) == [f"{mine}(scale=0.5)", "live", f"{mine}(scale=0, floor=0.25)"]
    assert made.weights == (1.0, 1.0, 2.0, 1.0)
    np.testing.assert_allclose(made(episode(turn("go()", result="fine"))).values, [[2, 0.9, 0.25, 3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "{name: NAME:by_length}"}, "reward: NAME:by_length needs the option 'scale'"),
        ({"reward": "{name: NAME:by_length, options: {scal: 1}}"}, "no option 'scal'; did you mean 'scale'?"),
        ({"reward": "{name: paper, options: {scale: 1}}"}, "reward.options: paper takes no options, got scale"),
        (
            {"reward": "{name: NAME:turns_squared, options: {a: 1}}"},
            "is called as function(prediction, case), but takes 1",
        ),
        ({"episode_reward": "{name: NAME:turns_times, options: {factor: x}}"}, "factor: must be float, got 'x'"),
        ({"reward": "live"}, "reward live: reads what tools answer; set environment"),
        (
            {"reward": "{name: live, options: {turncost: 1}}", "environment": "replay"},
            "reward.options: live has no option 'turncost'; did you mean 'turn_cost'?",
        ),
        ({"episode_reward": "NAME:turns_cubed"}, "episode_reward: 'NAME:turns_cubed'"),
    ],
)
def test_options_that_do_not_fit(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        rewards(**{key: value.replace("NAME", __name__) for key, value in settings.items()})
    assert message.replace("NAME", __name__) in str(error.value)


ASKED: list[str] = []


def moody(prediction: str, case: Case) -> float:
    """A user's reward that fails for some answers: always, or the first time it is asked."""
    ASKED.append(prediction)
    if prediction == "once" and ASKED.count("once") > 1:
        return 0.5
    return {"fine": 1.0, "nothing": None, "nan": float("nan")}[prediction]  # type: ignore[return-value]


def of_nothing(episode: Episode) -> float:
    return 1.0 / (len(episode.turns) - 1)


@pytest.fixture
def asked() -> list[str]:
    ASKED.clear()
    return ASKED


def moody_rubric(**settings: Any) -> Any:
    return rewards(reward=f"{__name__}:moody", **settings)


@pytest.mark.parametrize("answer", ["once", "nothing", "nan", "unknown"])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_reward_that_fails_is_tried_again_and_then_drops_its_episode(
    answer: str, retries: int, asked: list[str]
) -> None:
    made = moody_rubric(faults__retries=retries)
    scored = made(episode(turn("fine"), turn(answer)))
    assert asked == ["fine", *[answer] * (1 + retries)]
    recovers = answer == "once" and retries == 1
    assert scored.dropped == bool(scored.fault) != recovers
    assert scored.values.tolist() == [[1.0], [0.5 if recovers else 0.0]]
    if not recovers:
        assert scored.turns[1][0].category == "fault"
        assert scored.fault.startswith(f"reward {__name__}:moody: ")
        assert ("for case 'c'" if answer in ("nothing", "nan") else "KeyError: ") in scored.fault
        assert (answer in ("once", "unknown")) == ("test_rubric.py:" in scored.fault)


def test_a_reward_that_fails_may_cost_or_end_the_run(asked: list[str]) -> None:
    made = moody_rubric(faults__on_error="penalise", faults__penalty=-0.75)
    scored = made(episode(turn("fine"), turn("nan")))
    assert (scored.values.tolist(), scored.dropped) == ([[1.0], [-0.75]], False)
    made = moody_rubric(faults__on_error="raise")
    with pytest.raises(KeyError):
        made(episode(turn("unknown")))
    with pytest.raises(FaultyResult):
        made(episode(turn("nothing")))


@pytest.mark.parametrize(("policy", "expected"), [("drop", 0.0), ("penalise", -1.0)])
def test_a_reward_of_the_episode_that_fails(policy: str, expected: float) -> None:
    made = rewards(episode_reward=f"{__name__}:of_nothing", faults__on_error=policy)
    scored = made(episode(turn("go() ")))
    assert scored.values.tolist() == [[1.0, expected]]
    assert "reward of the episode: ZeroDivisionError: float division by zero (test_rubric.py:" in scored.fault
    assert not made(episode(turn("go() "), turn("go() "))).fault


def test_an_environment_that_failed_costs_the_last_turn_all_its_rewards() -> None:
    broken = replace(episode(turn("go() "), turn("go() ")), fault="reset: TimeoutError")
    made = rewards(reward="[paper, binary]", faults__on_error="penalise")
    assert made(broken).values.tolist() == [[1, 1], [-1, -1]]
    assert made(broken).fault == "reset: TimeoutError"
    assert rewards()(broken).dropped


def test_what_is_wrong_with_the_configuration_ends_the_run_at_once(asked: list[str]) -> None:
    made = rewards(reward="paper")
    with pytest.raises(UserError, match="no gold answer"):
        made(episode(turn("go()", case=Case("none", (), (), (), "none"))))


def test_rewards_of_several_episodes_and_nothing_left(asked: list[str]) -> None:
    made = moody_rubric(faults__retries=0)
    one, other = made.of_all([episode(turn("fine")), episode(turn("nan"))])
    assert (one.values.tolist(), one.dropped, other.dropped) == ([[1.0]], False, True)
    with pytest.raises(UserError, match=r"all 2 episodes failed, the first by reward .*moody: gave nan for case 'c'"):
        made.check([other, other])
    made.check([other, one])


def hangs(prediction: str, case: Case) -> float:
    """A user's reward that waits for ever where the answer says so."""
    if prediction == "hang":
        threading.Event().wait(60)
    THREADS.append(threading.get_ident())
    return 1.0


THREADS: list[int] = []


def test_a_reward_that_hangs_is_a_fault_of_its_episode() -> None:
    made = rewards(reward=f"{__name__}:hangs", faults__call_seconds=0.1, faults__retries=0)
    began = time.monotonic()
    right, hung, after = made.of_all([episode(turn(text)) for text in ("fine", "hang", "fine")])
    assert time.monotonic() - began < 20
    assert (right.dropped, hung.dropped, after.dropped) == (False, True, False)
    assert "hangs: DeadlineError: timed out, no answer within 0.1 seconds" in hung.fault


def test_rewards_share_a_thread_so_that_what_they_keep_for_it_lasts() -> None:
    THREADS.clear()
    made = rewards(reward=f"{__name__}:hangs", faults__call_seconds="null")
    made.of_all([episode(turn("fine"))] * 3)
    assert len(set(THREADS)) == 1
    assert threading.get_ident() not in THREADS


def test_a_signal_does_not_wait_for_a_reward_that_hangs() -> None:
    """It is no fault either, which would be tried again."""
    made = rewards(reward=f"{__name__}:hangs", faults__call_seconds="null", faults__retries=3)
    told: list[str] = []
    began = time.monotonic()
    with pytest.raises(Interrupted):
        made.of_all([episode(turn("hang"))], Watch(halts=lambda: True, tell=told.append))
    assert time.monotonic() - began < 20
    assert told == ["rewards: 0 of 1"]
    quick = made.of_all([episode(turn("fine"))] * 2, Watch(halts=lambda: True))
    assert [one.values.item() for one in quick] == [1.0, 1.0]


def test_rewards_survive_json() -> None:
    scored = rewards(reward="[paper, binary]")(episode(turn("go() "), turn("stop() ")))
    again = EpisodeRewards.from_json(json.loads(json.dumps(scored.to_json())))
    np.testing.assert_array_equal(again.values, scored.values)
    assert again.values.dtype == scored.values.dtype == np.float32
    assert replace(again, values=None) == replace(scored, values=None)  # type: ignore[arg-type]
