"""Runs that are stopped, or that tools and rewards would stop, and what they are when they go on."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from tests.rl.small_run import SOONEST, metrics_of, ppo_config, question, same, write
from tests.runs import metrics
from tl_jax.model.store import open_model
from tl_jax.rl.train import run_rl
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case

pytestmark = pytest.mark.usefixtures("two_devices")

TOLD: list[bool] = []


def stops(prediction: str, case: Case) -> float:
    """A reward during which the run is told to end, in the first rollout after four evaluations."""
    TOLD.append(True)
    if len(TOLD) == 10:
        signal.raise_signal(signal.SIGTERM)
    return 0.5


def test_a_run_that_was_stopped_does_not_say_what_came_of_it(undecided: Path, cases: Path, tmp_path: Path) -> None:
    result = run_rl(
        ppo_config(
            tmp_path / "run",
            undecided,
            cases,
            reward=f"{__name__}:stops",
            eval_every=1,
            eval_prompts=4,
            batch_size=16,
            steps=3,
            **SOONEST,
        )
    )
    assert (result["step"], result["stopped_by"]) == (1, "SIGTERM")
    assert "eval_reward" not in metrics_of(tmp_path / "run")[-1]  # whoever sent the signal does not wait for it
    log = (tmp_path / "run/log.txt").read_text()
    assert "before training" in log
    assert "after training" not in log


BAD: dict[str, int] = {}


class BadTools:
    """A user's environment that does everything wrong, and once hangs after the run was told to end."""

    def reset(self, case: Case) -> Case:
        BAD["reset"] += 1
        if BAD["reset"] % 5 == 0:
            raise ConnectionError("no more connections \ud800")
        return case

    def step(self, call: Call) -> tuple[str, bool]:
        BAD["step"] += 1
        if BAD["step"] >= BAD["hangs_at"]:
            if BAD["step"] == BAD["hangs_at"]:  # a second signal would end the tests
                os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(60)
        if BAD["step"] % 3 == 0:
            raise KeyError("\ud800")
        return f"half {chr(0xD800)}", False

    def close(self) -> None:
        raise OSError("closed already")


def bad_reward(prediction: str, case: Case) -> float:
    BAD["reward"] += 1
    return float("nan") if BAD["reward"] % 7 == 0 else -len(prediction) / 100


@pytest.mark.slow
def test_a_run_survives_bad_tools_and_rewards_and_ends_at_once_where_they_hang(undecided: Path, tmp_path: Path) -> None:
    questions = [{"id": f"q{i}", "gold": [], "gold_kind": "none", **question(i)} for i in range(8)]
    config = ppo_config(
        tmp_path / "run",
        undecided,
        write(tmp_path / "questions.jsonl", questions),
        environment=f"{__name__}:BadTools",
        max_turns=2,
        reward=f"{__name__}:bad_reward",
        steps=4,
        log_every=1,
        batch_size=8,
        eval_prompts=2,
        data__max_prompt_length=400,
        faults__retries=0,
        faults__call_seconds="null",
        **SOONEST,
    )
    BAD.update(reset=0, step=0, reward=0, hangs_at=30)
    result = run_rl(config)
    assert result["stopped_by"] == "SIGTERM"
    done = result["step"]
    assert 1 <= done < 4
    assert [path.name for path in (config.run_dir / "checkpoints").glob("[0-9]*")] == [str(done)]
    BAD["hangs_at"] = 10**9
    assert run_rl(config)["step"] == 4
    rows = metrics_of(config.run_dir)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(0 < row["faults"] < 1 for row in rows)
    assert any(row["raised"] > 0 for row in rows)
    log = (config.run_dir / "log.txt").read_text()
    assert "episodes failed; " in log
    assert "ConnectionError" in log
    assert "episodes raised an error; step find_" in log


@pytest.mark.slow
def test_a_run_without_a_critic_resumes_bit_for_bit(undecided: Path, cases: Path, tmp_path: Path) -> None:
    """Nor one without a KL, which needs nothing of the model that it started from."""
    settings = {
        **SOONEST,
        "max_resamples": 1,
        "curriculum__share": 0.5,
        "batch_size": 8,
        "steps": 4,
        "checkpoint__every": 2,
        "log_every": 1,
        "eval_prompts": 2,
    }
    whole = run_rl(ppo_config(tmp_path / "whole", undecided, cases, **settings))
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part" / "checkpoints" / "4")
    part = run_rl(ppo_config(tmp_path / "part", tmp_path / "gone", cases, **settings))
    assert whole["eval_reward_before"] == part["eval_reward_before"]
    assert same(open_model(tmp_path / "part").params, open_model(tmp_path / "whole").params)
    found, expected = metrics_of(tmp_path / "part"), metrics_of(tmp_path / "whole")
    assert [row["resampled"] for row in found] == [row["resampled"] for row in expected]
    assert any(row["resampled"] for row in expected)


CALLS = {"made": 0, "stops_at": 0}


def stops_once(prediction: str, case: Case) -> float:
    """A reward during one call of which the run is told to end."""
    CALLS["made"] += 1
    if CALLS["made"] == CALLS["stops_at"]:
        signal.raise_signal(signal.SIGTERM)
    return score(prediction, case, "paper").value


@pytest.mark.slow
def test_a_run_one_step_off_policy_resumes_bit_for_bit(undecided: Path, cases: Path, tmp_path: Path) -> None:
    """It is stopped while a step learns and what the next one learns from is rewarded: that is sampled by a policy
    which is gone then."""
    settings = {
        **SOONEST,
        "algorithm__minibatches": 2,
        "algorithm__steps_off_policy": 1,
        "algorithm__importance_cap": 2,
        "reward": f"{__name__}:stops_once",
        "max_resamples": 1,
        "curriculum__share": 0.5,
        "batch_size": 8,
        "steps": 5,
        "checkpoint__every": 100,
        "log_every": 1,
        "eval_prompts": 2,
    }
    whole = run_rl(ppo_config(tmp_path / "whole", undecided, cases, **settings))
    CALLS.update(made=0, stops_at=CALLS["made"] // 2)
    config = ppo_config(tmp_path / "part", undecided, cases, **settings)
    stopped = run_rl(config)
    assert stopped["stopped_by"] == "SIGTERM"
    assert 1 < stopped["step"] < 5
    part = run_rl(config)
    assert whole["eval_reward"] == part["eval_reward"]
    assert same(open_model(tmp_path / "part").params, open_model(tmp_path / "whole").params)
    assert metrics(tmp_path / "part") == metrics(tmp_path / "whole")
    assert (tmp_path / "part/samples.jsonl").read_text() == (tmp_path / "whole/samples.jsonl").read_text()
    rows = metrics(tmp_path / "whole")
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1, 1]
    assert rows[0]["sampler_drift_max"] < 1e-3 < min(row["sampler_drift_max"] for row in rows[1:])
