"""PPO as a user runs it: supervised model in, run directory out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.runs import metrics
from tests.thoroughness import first_then_thorough
from tl_jax.config import ConfigError, RlConfig, SftConfig, load_config
from tl_jax.config.estimators import ESTIMATORS, Estimator
from tl_jax.errors import UserError
from tl_jax.model.store import open_model
from tl_jax.rl.episodes import Episode
from tl_jax.rl.estimators import EstimatorInputs
from tl_jax.rl.train import run_rl
from tl_jax.tooluse.environments.python import PythonTools
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case
from tl_jax.training.checkpoint import ResumeError
from tl_jax.training.sft import run_sft

TOOLS = [{"name": name, "description": ""} for name in ("find_city", "find_country")]
STEPS, MIDDLE = 12, 6


def prefers_country(prediction: str, case: Case) -> float:
    """A user's reward that is never a whole number."""
    return 0.75 if "country" in prediction else -0.25


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def question(index: int) -> dict[str, Any]:
    return {"tools": TOOLS, "messages": [{"role": "user", "content": f"Where is Place {index}?"}]}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decision points whose right answer is always the same tool."""
    gold = [[{"name": "find_city", "arguments": {}}]]
    rows = [{"id": f"c{i}", "gold": gold, **question(i)} for i in range(10)]
    return write(tmp_path_factory.mktemp("cases") / "cases.jsonl", rows)


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """A supervised run whose model calls either tool, whatever the question."""
    home = tmp_path_factory.mktemp("undecided")
    rows = []
    for index in range(16):
        row = question(index // 2)
        call = {"role": "assistant", "tool_calls": [{"name": TOOLS[index % 2]["name"], "arguments": {}}]}
        rows.append({"id": f"t{index}", "tools": row["tools"], "messages": [*row["messages"], call]})
    settings = {
        "run_dir": home / "run",
        "model.path": model_dir,
        "model.dtype": "float32",
        "mesh.data": 8,
        "mesh.fsdp": 1,
        "data.path": write(home / "train.jsonl", rows),
        "data.max_length": 256,
        "data.batch_size": 8,
        "steps": 30,
        "optimizer.learning_rate": 3e-3,
        "optimizer.schedule": "constant",
    }
    run_sft(load_config(SftConfig, [], [f"{key}={value}" for key, value in settings.items()]))
    return home / "run"


def ppo_config(run_dir: Path, model: Path, cases: Path, **overrides: Any) -> RlConfig:
    settings = {
        "run_dir": run_dir,
        "model.path": model,
        "model.dtype": "float32",
        "mesh.data": 8,
        "mesh.fsdp": 1,
        "data.path": cases,
        "batch_size": 32,
        "steps": STEPS,
        "eval_prompts": 4,
        "log_every": 3,
        "checkpoint.every": MIDDLE,
        "sampling.max_new_tokens": 12,
        "actor.learning_rate": 1e-3,
        "critic.learning_rate": 1e-3,
        "algorithm.kl_coef": 0.02,
        "algorithm.minibatches": 2,
        "algorithm.missing_eos_penalty": 0.5,
    }
    settings |= {name.replace("__", "."): value for name, value in overrides.items()}
    return load_config(RlConfig, [], [f"{key}={value}" for key, value in settings.items()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, undecided: Path, cases: Path) -> tuple[RlConfig, dict[str, Any]]:
    config = ppo_config(tmp_path_factory.mktemp("ppo") / "run", undecided, cases)
    return config, run_rl(config)


def metrics_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_ppo_learns_to_call_the_rewarded_tool(trained: tuple[RlConfig, dict[str, Any]]) -> None:
    config, result = trained
    rows = metrics_of(config.run_dir)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    assert rows[-1]["outcome/correct"] > 0.8
    assert result["eval_reward"] == 1.0
    assert result["eval_TS"] == result["eval_CF"] == 100


def test_metrics_are_consistent(trained: tuple[RlConfig, dict[str, Any]]) -> None:
    for row in metrics_of(trained[0].run_dir):
        assert sum(value for name, value in row.items() if name.startswith("outcome/")) == pytest.approx(1)
        assert row["sampler_drift_max"] < 1e-3  # float32: the sampler and the step compute the same probabilities
        assert row["entropy"] > 0
        assert 0 <= row["clip_fraction"] <= 1
        assert 1 <= row["answer_length"] <= 12
        assert row["reward_with_kl"] == pytest.approx(row["score"] - 0.02 * row["kl_per_answer"], abs=1e-4)


def test_the_run_directory_tells_what_happened(trained: tuple[RlConfig, dict[str, Any]]) -> None:
    config, _ = trained
    log = (config.run_dir / "log.txt").read_text()
    assert "before training" in log
    assert "after training" in log
    assert "answers at step 12" in log
    samples = [json.loads(line) for line in (config.run_dir / "samples.jsonl").read_text().splitlines()]
    assert {row["step"] for row in samples} == {3, 6, 9, 12}
    assert all(row["explanation"] for row in samples)
    assert list((config.run_dir / "tensorboard").iterdir())


def test_a_run_directory_opens_as_the_actor(trained: tuple[RlConfig, dict[str, Any]], undecided: Path) -> None:
    actor, before = open_model(trained[0].run_dir), open_model(undecided)
    assert actor.params.keys() == before.params.keys()
    assert not same(actor.params, before.params)


@pytest.mark.slow
def test_resume_is_bit_exact(trained: tuple[RlConfig, dict[str, Any]], tmp_path: Path) -> None:
    """A run that ended after its first checkpoint goes on as if it had not, from the weights of its first start."""
    config, result = trained
    run_dir = tmp_path / "run"
    shutil.copytree(config.run_dir, run_dir)
    shutil.rmtree(run_dir / "checkpoints" / str(STEPS))
    config = config.model_copy(update={"run_dir": run_dir})
    gone = config.model.model_copy(update={"path": tmp_path / "gone"})
    with pytest.raises(
        ResumeError, match=r"weights it started from are needed again \(reference policy\).*gone: no model"
    ):
        run_rl(config.model_copy(update={"model": gone}))
    again = run_rl(config)
    assert same(open_model(run_dir).params, open_model(trained[0].run_dir).params)
    timing = {"seconds_sampling", "seconds_learning", "seconds_rewards", "tokens_per_second"}
    assert {k: v for k, v in again.items() if k not in timing} == {k: v for k, v in result.items() if k not in timing}
    assert [row["step"] for row in metrics_of(run_dir)] == [3, 6, 9, 12]
    samples = (run_dir / "samples.jsonl").read_text()
    assert samples == (trained[0].run_dir / "samples.jsonl").read_text()


def test_checkpoints_do_not_repeat_the_reference_policy(trained: tuple[RlConfig, dict[str, Any]]) -> None:
    state = (trained[0].run_dir / "checkpoints" / str(STEPS) / "state").resolve()
    saved = ocp.StandardCheckpointer().restore(state)
    assert saved["trainable"].keys() == saved["opt_state"].keys() == {"actor", "critic"}
    assert not saved["frozen"]


@pytest.mark.slow
def test_a_users_reward_a_random_critic_and_a_fresh_key_for_every_rollout(undecided: Path, tmp_path: Path) -> None:
    """One prompt again and again and a learning rate of nothing: only the noise differs between the steps."""
    file = write(tmp_path / "one.jsonl", [{"id": "one", "gold": [], "gold_kind": "none", **question(1)}])
    result = run_rl(
        ppo_config(
            tmp_path / "run",
            undecided,
            file,
            reward=f"{__name__}:prefers_country",
            steps=2,
            log_every=1,
            eval_prompts=0,
            batch_size=16,
            actor__learning_rate=1e-30,
            algorithm__critic_backbone="random",
            sampling__top_k=50,
            algorithm__logprob_temperature=1.0,
            sampling__temperature=0.7,
        )
    )
    first, second = metrics_of(tmp_path / "run")
    assert first["outcome/custom"] == second["outcome/custom"] == 1
    for row in (first, second):  # a whole number of sixteenths between the two rewards, not rounded to integers
        assert -0.25 <= row["reward"] <= 0.75
        assert (row["reward"] + 0.25) * 16 == pytest.approx(round((row["reward"] + 0.25) * 16), abs=1e-4)
        assert row["score"] == pytest.approx(row["reward"] - 0.5 * (1 - row["finished"]), abs=1e-5)
    assert first["entropy"] != second["entropy"]
    assert result["sampler_drift"] > 1e-2  # the sampler's temperature is another one


def several_turns(episode: Episode) -> float:
    """A user's reward of a whole episode."""
    return 0.125 * len(episode.turns)


def my_tools() -> PythonTools:
    """A user's environment."""
    return PythonTools(["tests.rl.city_tools:find_city", "tests.rl.city_tools:find_country"])


@pytest.mark.slow
def test_python_functions_as_tools_and_a_reward_of_the_episode(undecided: Path, tmp_path: Path) -> None:
    """No gold calls: the tools themselves say what a call was worth, turn by turn until the limit."""
    file = write(
        tmp_path / "questions.jsonl",
        [{"id": f"q{i}", "gold": [], "gold_kind": "none", **question(i)} for i in range(4)],
    )
    result = run_rl(
        ppo_config(
            tmp_path / "run",
            undecided,
            file,
            environment=f"{__name__}:my_tools",
            max_turns=2,
            reward="live",
            steps=2,
            episode_reward=f"{__name__}:several_turns",
            log_every=1,
            batch_size=8,
            group_size=2,
            eval_prompts=2,
            algorithm__estimator="rloo",
            data__max_prompt_length=400,
        )
    )
    rows = metrics_of(tmp_path / "run")
    assert {name for row in rows for name in row if name.startswith("result/")} <= {
        "result/success",
        "result/missing_parameter",
        "result/tool_hallucination",
        "result/parameter_hallucination",
    }
    assert all(1 < row["turns"] <= 2 for row in rows)
    assert "explained_variance" not in result  # no critic
    samples = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert {"Oslo", "Norway"} & {text for sample in samples for text in sample["results"]}
    assert "eval_TS" not in result


def better_than_the_worst(inputs: EstimatorInputs) -> jax.Array:
    """A user's estimator: a return less the least one of its group."""
    groups = inputs.returns.reshape(-1, inputs.group_size)
    return (groups - groups.min(axis=1, keepdims=True)).reshape(-1)


MINE = Estimator(
    name="mine",
    compute=f"{__name__}:better_than_the_worst",
    advantage="`R_i` minus the least of its group",
    source="https://example.org/mine",
    average="answers",
    needs_groups=True,
)


@pytest.fixture
def mine() -> Iterator[Estimator]:
    with ESTIMATORS.added(MINE) as record:
        yield record


@pytest.mark.slow
@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("estimator", first_then_thorough(["mine", *ESTIMATORS]))
def test_every_estimator_learns_to_call_the_rewarded_tool(estimator: str, undecided: Path, tmp_path: Path) -> None:
    gold = [[{"name": "find_country", "arguments": {}}]]  # greedily, the model calls the other tool
    cases = write(tmp_path / "cases.jsonl", [{"id": f"c{i}", "gold": gold, **question(i)} for i in range(10)])
    overrides: dict[str, Any] = {
        "algorithm__kl_in": "loss",
        "algorithm__kl_estimator": "k3",
        "algorithm__drop_equal_groups": True,
    }
    other = "monotone"
    if ESTIMATORS[estimator].nonnegative:
        other, overrides["algorithm__missing_eos_penalty"] = f"{__name__}:is_right", "null"
    result = run_rl(
        ppo_config(
            tmp_path / "run",
            undecided,
            cases,
            algorithm__estimator=estimator,
            group_size=4,
            batch_size=8,
            steps=7,
            log_every=7,
            actor__learning_rate=2e-3,
            reward=f"{{binary: 1, {other}: 0.5}}",
            eval_every=5,
            sampling__batch_size=8,
            algorithm__accumulate=2,
            **overrides,
        )
    )
    rewards = {row["step"]: row["eval_reward"] for row in metrics_of(tmp_path / "run")}
    assert list(rewards) == [5, 7]
    assert rewards[7] == result["eval_reward"] == 1.5
    assert result["eval_reward_before"] <= 0
    assert 0 <= result["equal_groups"] <= 1
    assert result["reward/binary"] > 0


def is_right(prediction: str, case: Case) -> float:
    """A reward that is never negative."""
    return score(prediction, case, "binary").value


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
        group_size=2,
        eval_prompts=2,
        algorithm__estimator="rloo",
        data__max_prompt_length=400,
        faults__retries=0,
        faults__call_seconds="null",
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
        "algorithm__estimator": "rloo",
        "algorithm__kl_coef": 0,
        "group_size": 2,
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
        "algorithm__estimator": "grpo",
        "algorithm__kl_in": "loss",
        "algorithm__steps_off_policy": 1,
        "algorithm__importance_cap": 2,
        "reward": f"{__name__}:stops_once",
        "group_size": 2,
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


@pytest.mark.parametrize(
    ("override", "error", "match"),
    [
        ({"algorithm__steps_off_policy": 1}, ConfigError, "set importance_cap, .* or old_log_probs=sampler"),
        ({"batch_size": 24}, ConfigError, "answers a multiple of 16"),
        ({"algorithm__accumulate": 4}, ConfigError, "in algorithm.accumulate=4 parts .* a multiple of 64"),
        ({"algorithm__clip_low": -0.1}, ConfigError, "algorithm.clip_low.*greater than or equal to 0"),
        ({"algorithm__kl_estimator": "k3"}, ConfigError, "k3 in the reward has a wrong gradient.*use k1 there"),
        ({"algorithm__estimator": "grpo"}, ConfigError, "set group_size to 2 or more"),
        ({"environment": "reply"}, ConfigError, "'environment': unknown 'reply'; did you mean 'replay'"),
        ({"sampling__temperature": 0}, ConfigError, "temperature above 0"),
        (
            {"data__max_prompt_length": 8},
            UserError,
            "no prompt is left: .* 10 have a prompt of more than 8 tokens",
        ),
        ({"reward": "papper"}, UserError, "did you mean 'paper'"),
    ],
)
def test_what_cannot_work_is_one_clear_line(
    undecided: Path, cases: Path, tmp_path: Path, override: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        run_rl(ppo_config(tmp_path / "run", undecided, cases, **override))
    assert not (tmp_path / "run").exists()
