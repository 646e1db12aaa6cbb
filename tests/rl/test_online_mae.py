"""Turns that failed through no fault of the policy."""

from __future__ import annotations

from typing import Any

import pytest

from tl_jax.config import ConfigError, RlConfig, load_config
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.online_mae import OnlineMae
from tl_jax.tooluse.schema import Call, Case

CASE = Case("c", (), ())
SETTINGS = ["run_dir=r", "model.path=m", "data.path=d", "environment=replay"]


def fails(result: str) -> str | None:
    """A user's rule."""
    return "environment" if result == "busy" else None


def turn(*results: str) -> Turn:
    calls = tuple(Call("go", {"n": index}) for index in range(len(results)))
    return Turn(CASE, "", True, 0, (5,), (0.0,), calls, results)


EPISODE = Episode(
    CASE,
    [],
    0,
    [
        turn('{"city": "Oslo"}'),
        turn("Read timed out"),
        turn("go() missing 1 required positional argument: 'x'"),
        turn('{"city": "Oslo"}', "503 Service Unavailable"),
        turn("busy"),
        turn(),
    ],
)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], [1, 1, 1, 1, 1, 1]),
        (["rule=paper"], [1, 0, 1, 0, 1, 1]),
        (["rule=paper", "factor=0.25"], [1, 0.25, 1, 0.25, 1, 1]),
        (["rule=paper", "block=caller"], [1, 1, 0, 1, 1, 1]),
        (["rule=paper", "block=all"], [1, 0, 0, 0, 1, 1]),
        ([f"rule={__name__}:fails"], [1, 1, 1, 1, 0, 1]),
    ],
)
def test_turns_answered_by_errors_of_the_environment_count_less(settings: list[str], expected: Any) -> None:
    config = load_config(RlConfig, [], [*SETTINGS, *(f"online_mae.{setting}" for setting in settings)])
    mae = OnlineMae.of(config.online_mae)
    (weights,) = mae.weights([EPISODE])
    assert weights.dtype == "float32"
    assert weights.tolist() == expected
    assert mae.blocked(EPISODE).tolist() == [weight < 1 for weight in expected]


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="online_mae reads what tools answer; set environment"):
        load_config(RlConfig, [], [*SETTINGS[:3], "online_mae.rule=paper"])
    with pytest.raises(ConfigError, match=r"online_mae\.packs': unknown 'pyton'; did you mean 'python'"):
        load_config(RlConfig, [], [*SETTINGS, "online_mae.packs=[pyton]"])
