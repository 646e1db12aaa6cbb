"""What turns and episodes are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tl_jax.config import RlConfig, load_config
from tl_jax.errors import UserError
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.rubric import make_rubric, resolve_reward
from tl_jax.tooluse.rewards.score import Reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool

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
    with pytest.raises(UserError, match=r"gave nan for case 'other'"):
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


def test_several_rewards_stay_apart() -> None:
    made = rewards(reward="{paper: 2.0, live: 0.5}", environment="replay", episode_reward=f"{__name__}:turns_squared")
    scored = made(episode(turn("go() ", result="fine"), turn("stop() ", result="Error: unknown tool stop")))
    assert made.weights == (2.0, 0.5, 1.0)
    np.testing.assert_allclose(scored.values, [[1, 0.9, 0], [-2, -2.1, 0.4]], rtol=1e-6)
    assert made.total(scored) == pytest.approx(2 * (1 - 2) + 0.5 * (0.9 - 2.1) + 0.4)


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
