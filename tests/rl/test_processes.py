"""Whole runs of reinforcement learning as a user starts them: killed, continued, on other devices, in two processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.devices import compiled_better, few_devices
from tests.processes import finish, finish_together, launch, launch_together
from tests.runs import metrics, rows, state
from tests.thoroughness import first_then_thorough
from tests.tiny import write_recordings
from tl_jax.config import RlConfig, SftConfig
from tl_jax.rl.train import run_rl
from tl_jax.training.sft import run_sft

pytestmark = pytest.mark.slow
STEPS, SAVED = 5, 2
ROWS = 8
GROUP = 256
"""Tokens of a row: two episodes of one prompt whatever they say, so that each run compiles its step once."""
REWARD = "tests.training.deadly:length"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight trajectories of two calls each, which even a tiny model learns to make."""
    return write_recordings(tmp_path_factory.mktemp("recordings") / "train.jsonl")


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, recordings: Path) -> Path:
    """A supervised run whose model makes calls."""
    run_dir = tmp_path_factory.mktemp("caller") / "run"
    config = SftConfig.model_validate(
        {
            "run_dir": run_dir,
            "steps": 60,
            "model": {"path": model_dir, "dtype": "float32"},
            "data": {"path": recordings, "max_length": 256, "batch_size": 8},
            "log_every": 60,
            "optimizer": {"learning_rate": 3e-3, "schedule": "constant"},
        }
    )
    with few_devices(1), compiled_better():
        run_sft(config)
    return run_dir


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, caller: Path, recordings: Path) -> Callable[..., RlConfig]:
    """The same short run under any name: episodes against recordings, an adaptive KL, a critic, several rewards."""
    home = tmp_path_factory.mktemp("runs")

    def make(name: str, **settings: Any) -> RlConfig:
        return RlConfig.model_validate(
            {
                "run_dir": home / name,
                "steps": STEPS,
                "log_every": 1,
                "checkpoint": {"every": SAVED},
                "model": {"path": caller, "dtype": "float32"},
                "data": {"path": recordings, "max_prompt_length": 400},
                "environment": "replay",
                "max_turns": 3,
                "batch_size": ROWS // 2,
                "group_size": 2,
                "curriculum": {"share": 0.5},
                "eval_prompts": 2,
                "reward": {"monotone": 1.0, "live": 0.5, REWARD: 1.0},
                "sampling": {"max_new_tokens": 16},
                "algorithm": {
                    "minibatches": 2,
                    "epochs": 2,
                    "kl_target": 0.5,
                    "missing_eos_penalty": 0.5,
                    "tokens_per_microbatch": GROUP,
                },
                "actor": {"learning_rate": 1e-3, "eps": 1e-5},
                "critic": {"learning_rate": 1e-3, "eps": 1e-5},
            }
            | settings
        )

    return make


@pytest.fixture(scope="module")
def uninterrupted(configured: Callable[..., RlConfig]) -> RlConfig:
    config = configured("uninterrupted")
    finish(launch(config))
    return config


def test_episodes_have_several_turns_and_all_is_reported(uninterrupted: RlConfig) -> None:
    logged = metrics(uninterrupted.run_dir)
    assert [row["step"] for row in logged] == list(range(1, STEPS + 1))
    assert max(row["turns"] for row in logged) > 1
    assert any(turn["turn"] > 0 and turn["results"] for turn in rows(uninterrupted.run_dir, "samples"))
    for row in logged:
        assert sum(value for name, value in row.items() if name.startswith("outcome/")) == pytest.approx(1)
        assert row["reward"] == pytest.approx(
            row["turns"] * (row["reward/monotone"] + 0.5 * row["reward/live"] + row[f"reward/{REWARD}"])
        )
        assert row["sampler_drift_max"] < 1e-3  # what was re-scored is what was sampled, turn after turn
    assert len({row["kl_coef"] for row in logged}) == STEPS  # it adapts


@pytest.mark.parametrize("seconds", first_then_thorough(["0.15", "0"]), ids=["inside an update", "between updates"])
def test_a_killed_run_resumes_bit_for_bit(
    configured: Callable[..., RlConfig], uninterrupted: RlConfig, seconds: str
) -> None:
    """Killed in the step after next of the checkpoint: by the reward, or once the update has begun."""
    config = configured(f"killed {seconds}")
    turns = [round(row["turns"] * ROWS) for row in metrics(uninterrupted.run_dir)]
    asked = 2 * 3 + sum(turns[: SAVED + 1]) + (1 if seconds == "0" else turns[SAVED + 1])
    process = launch(config, DIE_AT=str(asked), DIE_AFTER=seconds)
    finish(process, code=-signal.SIGKILL)
    assert SAVED <= len(metrics(config.run_dir)) < STEPS
    assert "continuing" in finish(launch(config))
    assert metrics(config.run_dir) == metrics(uninterrupted.run_dir)
    assert rows(config.run_dir, "samples") == rows(uninterrupted.run_dir, "samples")
    jax.tree.map(np.testing.assert_array_equal, state(config.run_dir, STEPS), state(uninterrupted.run_dir, STEPS))


def same_run(config: RlConfig, expected: RlConfig) -> None:
    """The same was sampled and learnt. How full rows are depends on how many devices share them."""
    for ours, theirs in zip(rows(config.run_dir, "samples"), rows(expected.run_dir, "samples"), strict=True):
        assert ours["prediction"] == theirs["prediction"]
        assert ours["results"] == theirs["results"]
    for one, other in zip(metrics(config.run_dir), metrics(expected.run_dir), strict=True):
        assert one.keys() == other.keys()
        for name in other.keys() - {"padding"}:
            value = other[name]
            tolerance = 1e-2 if name.endswith("clip_fraction") else 1e-4  # a token may lie on the limit
            assert one[name] == pytest.approx(value, rel=2e-3, abs=tolerance), name


def test_eight_devices_equal_one(configured: Callable[..., RlConfig], uninterrupted: RlConfig) -> None:
    config = configured("eight", mesh={"data": 2, "fsdp": 2, "tensor": 2})
    run_rl(config)  # these tests have eight
    same_run(config, uninterrupted)


def test_two_processes_equal_one(configured: Callable[..., RlConfig], uninterrupted: RlConfig) -> None:
    config = configured("two", mesh={"fsdp": 2})
    shown = finish_together(launch_together(config))
    assert f"done: {STEPS} steps" in shown[0]
    assert "step" not in shown[1]  # only the first one talks
    same_run(config, uninterrupted)


def saved(config: RlConfig) -> list[int]:
    return sorted(int(path.name) for path in (config.run_dir / "checkpoints").glob("[0-9]*"))


def in_two(configured: Callable[..., RlConfig], name: str, **settings: Any) -> RlConfig:
    """A long run of two processes, which logs and saves seldom; its reward must not be asked but in the first.

    Single calls and no critic: what ends a run does not ask what is learnt, and this is compiled soonest.
    """
    reward = "tests.training.deadly:in_one_process"
    seldom = {"mesh": {"fsdp": 2}, "steps": 200, "log_every": 200, "checkpoint": {"every": 200}, "eval_prompts": 0}
    least = {"max_turns": 1, "algorithm": {"estimator": "rloo", "kl_coef": 0, "tokens_per_microbatch": GROUP}}
    return configured(name, reward=reward, **seldom, **least, **settings)


def test_a_signal_to_one_process_ends_both_after_the_same_step(
    configured: Callable[..., RlConfig], tmp_path: Path
) -> None:
    """Long before the next step that logs or saves, although it is not the first process that gets it."""
    config = in_two(configured, "signalled")
    told = tmp_path / "told"
    both = launch_together(config, TELL_AT=str(2 * ROWS), TELL_FILE=str(told))
    while not told.exists():
        assert [process.poll() for process in both] == [None, None]
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    shown = finish_together(both, code=128 + signal.SIGTERM)
    assert "stopped by a signal to another process; the checkpoint is saved" in shown[0]
    (step,) = saved(config)
    assert 1 <= step < 100


def test_a_reward_that_ends_one_process_ends_both_with_the_state_saved(configured: Callable[..., RlConfig]) -> None:
    config = in_two(configured, "failed", faults={"on_error": "raise", "retries": 0})
    shown = finish_together(launch_together(config, FAIL_AT=str(5 * ROWS)), code=1)
    assert "ZeroDivisionError: the first process fails" in shown[0]
    assert "the main process" in shown[1]
    (step,) = saved(config)
    assert f"the state after step {step} is saved" in (config.run_dir / "log.txt").read_text()
