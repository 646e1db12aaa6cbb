"""What the models think of a rollout before the first update, against dense NumPy restatements."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.rl.helpers import (
    SCORE,
    dense,
    dense_advantages,
    dense_logprobs,
    dense_values,
    drifted_state,
    initial,
    moved,
    one_step,
    policies,
    random_rollout,
    step_of,
)
from tests.thoroughness import THOROUGH
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import AlgorithmConfig
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.scores import score_rollout
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state


def test_scores_equal_a_dense_restatement() -> None:
    config = AlgorithmConfig(kl_coef=0.4, gamma=0.95, lam=0.9, whiten_advantages=False, minibatches=4)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    experience, metrics = SCORE(state, rollout, config)
    args, mask = dense(rollout), rollout.mask
    logprobs, reference = (dense_logprobs(params, *args) for params in policies(state))
    values, advantages = dense_values(state.trainable["critic"], *args), dense_advantages(state, rollout, config)
    for actual, expected in (
        (experience.old_logprobs, logprobs),
        (experience.old_values, values),
        (experience.advantages, advantages),
        (experience.returns, advantages + values),
    ):
        np.testing.assert_allclose(np.asarray(actual)[mask], np.asarray(expected)[mask], rtol=1e-3, atol=1e-4)
    kl = np.where(mask, logprobs - reference, 0)
    assert metrics["kl"] == pytest.approx(kl.sum() / mask.sum(), rel=1e-4)
    assert metrics["kl_per_answer"] == pytest.approx(kl.sum(axis=1).mean(), rel=1e-4)
    drift = np.abs(rollout.logprobs - logprobs)[mask]
    assert metrics["sampler_drift"] == pytest.approx(drift.mean(), rel=1e-4)
    assert metrics["sampler_drift_max"] == pytest.approx(drift.max(), rel=1e-4)


def test_reference_logprobs_have_the_policys_temperature() -> None:
    """Before any update policy and reference are the same model: the KL is 0 at every temperature."""
    config = AlgorithmConfig(kl_coef=0.4, gamma=0.95, lam=0.9, whiten_advantages=False, minibatches=4)
    state = initial(config, optax.sgd(1.0))(init_params(TINY, jax.random.key(7)))
    _, metrics = SCORE(state, random_rollout(), config)
    assert metrics["kl"] == 0
    assert metrics["kl_per_answer"] == 0


@pytest.mark.slow
def test_a_reference_in_bfloat16_is_the_policy_before_any_update() -> None:
    """Half the memory and no difference, for the policy's matrices are cast as the reference's were."""
    config = AlgorithmConfig(estimator="rloo", kl_in="loss", old_log_probs="recompute")
    model = TrainableModel(make_graphdef(TINY, dtype=jnp.bfloat16), optax.sgd(1.0), optax.constant_schedule(1.0))
    spec = StepSpec(model, model, config, group_size=2, answer_length=8)
    state = init_rl_state(init_params(TINY, jax.random.key(7)), TINY, spec, seed=1)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.trainable)} == {"float32"}
    assert state.frozen["ref"]["layers"]["q"].dtype == jnp.bfloat16
    metrics = jax.jit(partial(score_rollout, spec=spec))(state, random_rollout(2))[1]
    assert metrics["kl"] == metrics["kl_per_answer"] == 0
    wide = init_rl_state(state.trainable["actor"], TINY, spec._replace(frozen_dtype="float32"), seed=1)
    assert wide.frozen["ref"]["layers"]["q"].dtype == jnp.float32


def test_whitening_is_global_over_all_minibatches() -> None:
    config = AlgorithmConfig(whiten_advantages=True, minibatches=4)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    experience, _ = SCORE(state, rollout, config)
    raw = dense_advantages(state, rollout, config)[rollout.mask]
    white = np.asarray(experience.advantages)[rollout.mask]
    np.testing.assert_allclose(white, (raw - raw.mean()) / raw.std(), rtol=1e-3, atol=1e-3)


def test_a_truncated_episode_is_worth_what_the_critic_still_expects() -> None:
    config = AlgorithmConfig(whiten_advantages=False, bootstrap_truncated=True, gamma=0.9)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    cut = replace(rollout, cut_off=np.arange(8) < 3)
    ended, bootstrapped = (SCORE(state, one, config)[0].returns for one in (rollout, cut))
    off, _ = SCORE(state, cut, config.model_copy(update={"bootstrap_truncated": False}))
    np.testing.assert_array_equal(off.returns, ended)
    tokens, columns, lengths = dense(rollout)
    after_all = dense_values(
        state.trainable["critic"], tokens, np.tile(lengths[:, None], (1, columns.shape[1])), lengths
    )[:, 0]
    for row, last in enumerate(rollout.mask.sum(axis=1) - 1):
        gained = bootstrapped[row, last] - ended[row, last]
        assert gained == pytest.approx(0.9 * float(after_all[row]) if row < 3 else 0, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "grpo", "kl_coef": 0, "importance_cap": 2.0},
        {"estimator": "rloo", "kl_in": "loss", "kl_estimator": "k3", "kl_coef": 0.3, "entropy_coef": 0.1},
        {"kl_coef": 0, "critic_backbone": "shared"},
    ],
    ids=["grpo", "KL in the loss", "shared backbone"],
)
def test_the_only_update_finds_the_old_log_probs_itself(options: dict[str, Any]) -> None:
    """Same update, same metrics, in several parts; and the policy reads the rollout once less."""
    groups = {"group_size": 4} if options.get("estimator") else {}
    less = less_work_for_the_same(AlgorithmConfig(**options), Layout(**groups, tokens=128))
    if options.get("critic_backbone") != "shared":  # there the critic reads before, for both
        assert less < 0.85


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"kl_target": 1.0, "target_kl": 1.0, "bootstrap_truncated": True}, id="critic of its own, adaptive KL"
        ),
        pytest.param(
            {"kl_target": 1.0, "kl_in": "loss", "kl_estimator": "k3"}, id="critic before actor", marks=pytest.mark.slow
        ),
        pytest.param(
            {"kl_coef": 0.3, "critic_backbone": "shared", "entropy_coef": 0.1},
            id="shared backbone",
            marks=THOROUGH,
        ),
    ],
)
def test_the_only_update_scores_a_rollout_that_is_one_part(options: dict[str, Any]) -> None:
    """Same update, same metrics; and of policy (4 passes), critic (4) and reference, one of the first two each is left
    out. A reading and its gradient are three passes."""
    less = less_work_for_the_same(AlgorithmConfig(**options), Layout())
    assert less < (0.86 if options.get("critic_backbone") else 0.83)


def less_work_for_the_same(auto: AlgorithmConfig, layout: Layout) -> float:
    """Which share of the work it is not to read a rollout before its only update, which has to be the same."""
    whole = auto.model_copy(update={"old_log_probs": "recompute"})
    groups = {"group_size": layout.group_size} if layout.group_size > 1 else {}
    state, rollout = drifted_state(whole, optax.sgd(1.0)), random_rollout(16, 24, layout=layout)
    state = replace(state, kl_coef=jnp.float32(0.3))  # an adaptive one's, that has moved
    _, expected, told = one_step(whole, rollout, state, **groups)
    _, new, metrics = one_step(auto, rollout, state, **groups)
    assert moved(state.trainable, new.trainable)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)
    assert metrics.keys() == told.keys()
    for name, value in told.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    assert (new.kl_coef != metrics["kl_coef"]) == (auto.kl_target is not None)
    assert new.kl_coef == pytest.approx(float(expected.kl_coef), rel=1e-6)
    return work(auto, state, rollout, **groups) / work(whole, state, rollout, **groups)


def work(config: AlgorithmConfig, state: RlState, rollout: RolloutBatch, **more: Any) -> float:
    """FLOPs of a step as they are written, loops counted once."""
    return float(step_of(config, **more).lower(state, rollout).cost_analysis()["flops"])


def test_no_reference_is_kept_or_read_without_a_kl() -> None:
    free = AlgorithmConfig(estimator="grpo", kl_coef=0, old_log_probs="recompute")
    state, rollout = drifted_state(free, optax.sgd(1.0)), random_rollout(layout=Layout(group_size=4))
    assert not jax.tree.leaves(state.frozen)
    broken = replace(state, frozen={"ref": jax.tree.map(lambda x: x * jnp.nan, state.trainable["actor"])})
    _, new, metrics = one_step(free, rollout, broken, group_size=4)
    _, expected, _ = one_step(free, rollout, state, group_size=4)
    assert_trees_close(new.trainable, expected.trainable, rtol=0)
    assert "kl" not in metrics
    assert np.isfinite(list(metrics.values())).all()


def test_the_samplers_log_probs_serve_as_the_old_ones() -> None:
    """Where it computes what the policy does, the update is the same; drift is told all the same."""
    config = AlgorithmConfig(kl_coef=0.3)
    state, rollout = drifted_state(config, optax.sgd(1.0)), random_rollout()
    rollout = replace(rollout, logprobs=SCORE(state, rollout, config)[0].old_logprobs)
    _, expected, told = one_step(config, rollout, state)
    _, new, metrics = one_step(config.model_copy(update={"old_log_probs": "sampler"}), rollout, state)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)
    assert metrics.keys() == told.keys()
    for name, value in told.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
    off = replace(rollout, logprobs=rollout.logprobs + rollout.mask * np.float32(0.5))
    _, _, metrics = one_step(config.model_copy(update={"old_log_probs": "sampler"}), off, state)
    assert metrics["sampler_drift"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["clip_fraction"] > 0
