"""Reinforcement learning of adapters: the reference policy is the model below them, and the critic stands on it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tests.rl.helpers import random_rollout
from tests.rl.small_run import ROW
from tests.thoroughness import first_then_thorough
from tests.training.helpers import TINY, assert_same_avals, assert_trees_close
from tl_jax.config import AlgorithmConfig, ConfigError, LoraConfig, OptimizerConfig, RlConfig, load_config
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.lora import merge_adapters
from tl_jax.model.store import open_model
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.parts import MicroBatch, read_once
from tl_jax.rl.scores import learns_while_scoring, per_token_logps, score_rollout
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, adapter_off, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.rl.train import run_rl
from tl_jax.tooluse.schema import Case
from tl_jax.training.optimizer import make_optimizer

LORA = LoraConfig(rank=4, alpha=8)
WHOLE = LORA.model_copy(update={"modules_to_save": ("embed_tokens", "lm_head", "norm", "input_layernorm")})
PPO = AlgorithmConfig(kl_coef=0.3, minibatches=2)
SHARED = AlgorithmConfig(kl_coef=0.3, minibatches=2, critic_backbone="shared")
GRPO = AlgorithmConfig(estimator="grpo", kl_in="loss", kl_estimator="k3")


def spec_of(config: AlgorithmConfig, lora: LoraConfig | None = LORA, dtype: Any = "float32", **more: Any) -> StepSpec:
    actor, critic = (make(TINY, lora, dtype=dtype) for make in (make_graphdef, make_value_graphdef))
    optimizer, rate = make_optimizer(OptimizerConfig(learning_rate=1e-2), 9)
    more |= {"lora": lora, "ref_params": adapter_off} if lora else {}
    models = TrainableModel(actor, optimizer, rate), TrainableModel(critic, optimizer, rate)
    return StepSpec(*models, config, answer_length=8, **more)


def initial(spec: StepSpec, dtype: Any = "float32") -> RlState:
    return init_rl_state(init_params(TINY, jax.random.key(7), dtype), TINY, spec, 1)


def moved(state: RlState) -> RlState:
    """All that is trained, as after some training."""
    keys = iter(jax.random.split(jax.random.key(3), 99))
    return replace(
        state, trainable=jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), state.trainable)
    )


def scored(params: Any, rollout: RolloutBatch, spec: StepSpec) -> tuple[jax.Array, ...]:
    """Log-probabilities and values, [B, N]."""

    def read(part: MicroBatch) -> tuple[jax.Array, jax.Array]:
        policy, values = per_token_logps(params, part, spec)
        return policy.log_probs, values

    return read_once(read, rollout, 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [PPO, SHARED, GRPO], ids=["own critic", "shared critic", "grpo"])
def test_a_step_gives_back_what_it_takes(config: AlgorithmConfig, dtype: Any) -> None:
    spec = spec_of(config, dtype=dtype, group_size=2 if config is GRPO else 1)
    state = initial(spec, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.trainable)} == {np.dtype("float32")}
    assert_same_avals(make_rl_step(spec), state, random_rollout())


@pytest.mark.parametrize("lora", first_then_thorough([WHOLE, LORA]))
def test_the_reference_is_the_model_below(lora: LoraConfig) -> None:
    """At first to the last bit, so that the KL is 0; later it stays what it was, whatever is trained whole."""
    spec, plain, rollout = spec_of(PPO, lora), spec_of(PPO, lora=None), random_rollout()
    state = initial(spec)
    score = jax.jit(lambda state: score_rollout(state, rollout, spec))
    experience, metrics = score(state)
    assert metrics["kl_per_answer"] == 0
    np.testing.assert_array_equal(experience.old_logprobs, experience.ref_logprobs)
    later, metrics = score(moved(state))
    assert abs(metrics["kl_per_answer"]) > 0.01
    np.testing.assert_array_equal(later.ref_logprobs, experience.ref_logprobs)
    below, _ = scored({"actor": init_params(TINY, jax.random.key(7))}, rollout, plain)
    np.testing.assert_allclose(later.ref_logprobs, below, atol=1e-5)


@pytest.mark.parametrize("lora", first_then_thorough([WHOLE, LORA]))
def test_the_critics_adapters_stand_on_the_same_model(lora: LoraConfig) -> None:
    spec, rollout = spec_of(PPO, lora), random_rollout()
    state = moved(initial(spec))
    assert {*state.trainable["critic"]} == {"backbone", "value_head"}
    _, values = scored(state.params, rollout, spec)
    base = init_params(TINY, jax.random.key(7))
    backbone = merge_adapters(base, state.trainable["critic"]["backbone"], LORA.scale)
    backbone.pop("lm_head")
    critic = {"backbone": backbone, "value_head": state.trainable["critic"]["value_head"]}
    actor = init_params(TINY, jax.random.key(8))
    _, expected = scored({"actor": actor, "critic": critic}, rollout, spec_of(PPO, lora=None))
    assert_trees_close(jnp.where(rollout.mask, values, 0), jnp.where(rollout.mask, expected, 0), rtol=1e-4)
    assert {*initial(spec_of(SHARED)).trainable["critic"]} == {"value_head"}


@pytest.mark.slow
def test_the_only_update_scores_a_rollout_of_adapters() -> None:
    """As for whole models (`test_scores.py`): same update, metrics and adaptive KL as when all is read before."""
    rollout, sgd = random_rollout(16, 24), optax.sgd(1.0)

    def learnt(old_log_probs: str) -> tuple[StepSpec, RlState, dict[str, float]]:
        spec = spec_of(AlgorithmConfig(kl_target=1.0, kl_rate=0.5, old_log_probs=old_log_probs))
        spec = spec._replace(**{name: getattr(spec, name)._replace(optimizer=sgd) for name in ("actor", "critic")})
        state, metrics = jax.jit(make_rl_step(spec))(moved(initial(spec)), rollout)
        return spec, state, {name: float(value) for name, value in metrics.items()}

    spec, new, metrics = learnt("auto")
    before, expected, told = learnt("recompute")
    assert (learns_while_scoring(spec, 1, 1), learns_while_scoring(before, 1, 1)) == (True, False)
    assert metrics == pytest.approx(told, rel=1e-4, abs=1e-5)
    assert new.kl_coef != metrics["kl_coef"]
    assert new.kl_coef == pytest.approx(float(expected.kl_coef), rel=1e-6)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)


def likes_a(prediction: str, case: Case) -> float:
    """What a model of random weights can learn at once."""
    return min(prediction.count("a"), 4) / 2 - 1


def config_of(run_dir: Path, model: Path, **overrides: Any) -> RlConfig:
    rows = [
        {"id": str(i), "gold": [], "gold_kind": "none", "tools": [], "messages": [{"role": "user", "content": f"{i}?"}]}
        for i in range(4)
    ]
    file = run_dir.parent / "cases.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "run_dir": run_dir,
        "model.path": model,
        "model.dtype": "float32",
        "mesh.data": -1,
        "mesh.fsdp": 1,
        "data.path": file,
        "reward": f"{__name__}:likes_a",
        "lora.rank": 4,
        "lora.quantize": "int8",
        "lora.dropout": 0.1,
        "lora.modules_to_save": "[lm_head, norm]",
        "batch_size": 4,
        "group_size": 8,
        "steps": 14,
        "algorithm.epochs": 2,
        "algorithm.kl_coef": 0.01,
        "algorithm.tokens_per_microbatch": ROW,
        "eval_prompts": 0,
        "log_every": 1,
        "checkpoint.every": 12,
        "sampling.max_new_tokens": 8,
        "actor.learning_rate": 2e-2,
        "actor.schedule": "constant",
        "critic.learning_rate": 1e-2,
        "critic.schedule": "constant",
    }
    settings |= {name.replace("__", "."): value for name, value in overrides.items()}
    return load_config(RlConfig, [], [f"{key}={value}" for key, value in settings.items()])


def saved(run_dir: Path, step: int) -> Any:
    return ocp.StandardCheckpointer().restore((run_dir / "checkpoints" / str(step) / "state").resolve())


@pytest.mark.slow
@pytest.mark.usefixtures("two_devices")
def test_a_run_learns_keeps_adapters_only_and_goes_on_to_the_bit(model_dir: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", model_dir)
    run_rl(config)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["kl_per_answer"] == 0
    assert max(row["sampler_drift_max"] for row in rows) < 1e-3
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.4
    state = saved(tmp_path / "run", 14)
    assert {*state["trainable"]["actor"]} == {"layers", "lm_head", "norm"}
    assert {*state["trainable"]["critic"]} == {"backbone", "value_head"}
    assert not state["frozen"]
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "14")
    run_rl(config.model_copy(update={"run_dir": tmp_path / "again"}))
    jax.tree.map(np.testing.assert_array_equal, saved(tmp_path / "again", 14), state)
    merged = merge_adapters(open_model(model_dir).params, state["trainable"]["actor"], 16 / 4)
    jax.tree.map(np.testing.assert_array_equal, open_model(tmp_path / "run").params, merged)


def test_a_random_critic_is_refused(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="critic_backbone=random is no model that adapters can stand on"):
        config_of(tmp_path / "run", model_dir, algorithm__critic_backbone="random")
