"""Dropout of adapters in reinforcement learning: what it changes, and what it must leave alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import numpy as np
import optax
import pytest

from tests.rl.helpers import random_rollout
from tests.rl.test_lora import LORA, initial, spec_of
from tests.rl.test_lora import moved as drifted
from tests.training.helpers import assert_trees_close
from tl_jax.config import AlgorithmConfig
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.rl.step import make_rl_step

TIGHT = {"kl_coef": 0.3, "clip_low": 1e-5, "clip_high": 1e-5, "value_clip": 1e-5}
PPO = AlgorithmConfig(epochs=2, minibatches=2, **TIGHT)
GRPO = AlgorithmConfig(estimator="grpo", kl_in="loss", kl_estimator="k3", old_log_probs="recompute", **TIGHT)
OF_THE_POLICY = ("kl", "kl_per_answer", "reward_with_kl", "entropy", "sampler_drift")


def dropping(config: AlgorithmConfig, rate: float, learning_rate: float) -> StepSpec:
    spec = spec_of(config, LORA.model_copy(update={"dropout": rate}), group_size=2)
    actor, critic = (model._replace(optimizer=optax.sgd(learning_rate)) for model in (spec.actor, spec.critic))
    return spec._replace(actor=actor, critic=critic)


@cache
def before(config: AlgorithmConfig) -> RlState:
    """With adapters that add something, and a critic that expects something."""
    return jax.jit(lambda: drifted(initial(dropping(config, 0.5, 1.0))))()


@cache
def step_of(config: AlgorithmConfig, rate: float, learning_rate: float) -> Any:
    return jax.jit(make_rl_step(dropping(config, rate, learning_rate)))


def learnt(config: AlgorithmConfig, rate: float, learning_rate: float = 1.0, **changes: Any) -> tuple[Any, Any]:
    """What is trained after a step, and the step's metrics."""
    layout = Layout(group_size=2, epochs=config.epochs, minibatches=config.minibatches)
    state, rollout = replace(before(config), **changes), random_rollout(layout=layout)
    new, metrics = step_of(config, rate, learning_rate)(state, rollout)
    return new.trainable, {name: float(value) for name, value in metrics.items()}


def apart(one: Any, other: Any) -> float:
    """The largest difference."""
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one, other)))


def test_updates_drop_and_what_is_told_of_the_policy_does_not() -> None:
    (new, metrics), (plainly, plain) = (learnt(GRPO, rate) for rate in (0.5, 0.0))
    assert apart(new, plainly) > 1e-3
    for name in OF_THE_POLICY:
        assert metrics[name] == pytest.approx(plain[name], rel=1e-5), name
    assert metrics["kl_loss"] != pytest.approx(plain["kl_loss"], rel=1e-2)
    again = learnt(GRPO, 0.5)[0]
    jax.tree.map(np.testing.assert_array_equal, again, new)
    assert apart(learnt(GRPO, 0.5, step=np.int32(1))[0], new) > 1e-3


def test_the_policy_that_was_read_first_has_the_updates_noise() -> None:
    """The ratio to it is 1."""
    _, metrics = learnt(GRPO, 0.5)
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["clip_fraction"] == 0


@pytest.mark.slow
@pytest.mark.thorough
def test_the_only_update_starts_from_what_it_finds_itself() -> None:
    """Which is what reading first finds under the same noise."""
    itself = GRPO.model_copy(update={"old_log_probs": "auto"})
    assert_trees_close(learnt(itself, 0.5)[0], learnt(GRPO, 0.5)[0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("critic_backbone", ["sft", "shared"])
def test_the_ratio_of_an_unchanged_policy_is_1(critic_backbone: str) -> None:
    """In every update, although each has noise of its own; no value leaves its old one either."""
    config = PPO.model_copy(update={"critic_backbone": critic_backbone})
    _, metrics = learnt(config, 0.5, learning_rate=0.0)
    assert metrics["updates"] == 4
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["clip_fraction"] == metrics["value_clip_fraction"] == 0


@pytest.mark.slow
@pytest.mark.thorough
def test_a_critic_drops_too() -> None:
    """What it says before updates, and makes advantages of, is without noise."""
    once = PPO.model_copy(update={"epochs": 1, "minibatches": 1})
    (learns, metrics), (plainly, plain) = (learnt(once, rate) for rate in (0.5, 0.0))
    for name in ("value", "explained_variance"):
        assert metrics[name] == pytest.approx(plain[name], rel=1e-5), name
    assert apart(learns["critic"]["backbone"], plainly["critic"]["backbone"]) > 1e-3


@pytest.mark.slow
@pytest.mark.thorough
def test_the_less_is_dropped_the_nearer_are_updates_to_those_without() -> None:
    """1e-9 rounds to none, through the program that drops."""
    assert_trees_close(learnt(GRPO, 1e-9)[0], learnt(GRPO, 0.0)[0], rtol=1e-5)
