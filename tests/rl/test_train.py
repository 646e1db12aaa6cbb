"""PPO as a user runs it: supervised model in, run directory out."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import orbax.checkpoint as ocp
import pytest

from tests.devices import few_devices
from tests.rl.small_run import SOONEST, STEPS, metrics_of, ppo_config, question, same, write
from tests.thoroughness import first_then_thorough
from tests.training.helpers import TINY
from tl_jax.config import ConfigError, RlConfig
from tl_jax.config.estimators import ESTIMATORS, Estimator
from tl_jax.errors import UserError
from tl_jax.model.parameters import init_params
from tl_jax.model.store import open_model
from tl_jax.rl.episodes import Episode
from tl_jax.rl.estimators import EstimatorInputs
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.train import _make_engine, make_step_spec, run_rl
from tl_jax.tooluse.environments.python import PythonTools
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Case
from tl_jax.training.checkpoint import ResumeError


def prefers_country(prediction: str, case: Case) -> float:
    """A user's reward that is never a whole number."""
    return 0.75 if "country" in prediction else -0.25


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, undecided: Path, cases: Path) -> tuple[RlConfig, dict[str, Any]]:
    config = ppo_config(tmp_path_factory.mktemp("ppo") / "run", undecided, cases)
    with few_devices(2):
        return config, run_rl(config)


def test_ppo_learns_to_call_the_rewarded_tool(trained: tuple[RlConfig, dict[str, Any]]) -> None:
    config, result = trained
    rows = metrics_of(config.run_dir)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.2
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


def test_answers_keep_keys_and_values_as_the_setting_says(tmp_path: Path) -> None:
    config = ppo_config(tmp_path / "run", tmp_path, tmp_path, engine__kv_cache_dtype="int8")
    spec, run = make_step_spec(config, TINY, make_rubric(config)), SimpleNamespace(mesh=None)
    engine: Any = _make_engine(config, spec, run, TINY, tmp_path)
    engine.update(init_params(TINY, jax.random.key(0)))
    assert engine._served.layout.dtype == "int8"


def test_a_run_directory_opens_as_the_actor(trained: tuple[RlConfig, dict[str, Any]], undecided: Path) -> None:
    actor, before = open_model(trained[0].run_dir), open_model(undecided)
    assert actor.params.keys() == before.params.keys()
    assert not same(actor.params, before.params)


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
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
    before = set(threading.enumerate())
    again = run_rl(config)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "tl_jax calls with a deadline":
            thread.join(5)
            assert not thread.is_alive(), "it outlives the run"
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
@pytest.mark.usefixtures("two_devices")
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
@pytest.mark.usefixtures("two_devices")
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
            eval_prompts=2,
            data__max_prompt_length=400,
            **SOONEST,
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
@pytest.mark.usefixtures("mine", "two_devices")
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


@pytest.mark.parametrize(
    ("override", "error", "match"),
    [
        ({"algorithm__steps_off_policy": 1}, ConfigError, "set importance_cap, .* or old_log_probs=sampler"),
        ({"batch_size": 24}, ConfigError, "answers a multiple of 16"),
        (
            {"algorithm__accumulate": 4, "algorithm__tokens_per_microbatch": "null"},
            ConfigError,
            "in algorithm.accumulate=4 parts .* a multiple of 64",
        ),
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
