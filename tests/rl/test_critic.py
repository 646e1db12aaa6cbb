"""How the critic begins and what it learns, in a step of its own and beside the policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.rl.helpers import (
    ACTOR_GRAPH,
    SCORE,
    dense,
    dense_logprobs,
    drifted_state,
    initial,
    moved,
    one_step,
    random_rollout,
    spec_of,
)
from tests.training.helpers import TINY, assert_trees_close, equations
from tl_jax.config import AlgorithmConfig
from tl_jax.model.llama import init_params, merge
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.scores import policy_scores
from tl_jax.rl.state import RlState
from tl_jax.rl.step import make_rl_step
from tl_jax.training.losses import TokenScores


def test_critic_weights_are_actually_loaded() -> None:
    params = init_params(TINY, jax.random.key(7))
    state = initial(AlgorithmConfig(critic_backbone="sft"), optax.sgd(1.0))(params)
    expected = {name: value for name, value in params.items() if name != "lm_head"}
    assert_trees_close(state.trainable["critic"]["backbone"], expected, rtol=0)
    assert not np.asarray(state.trainable["critic"]["value_head"]).any()
    random = initial(AlgorithmConfig(critic_backbone="random"), optax.sgd(1.0))(params)
    assert np.abs(random.trainable["critic"]["backbone"]["layers"]["q"] - params["layers"]["q"]).mean() > 0.1


def test_a_shared_backbone_learns_from_both_losses() -> None:
    config = AlgorithmConfig(critic_backbone="shared", whiten_advantages=False, value_coef=0.5)
    state, new, metrics = one_step(config, rollout := random_rollout())
    assert state.trainable["critic"].keys() == {"value_head"}
    assert moved(state.trainable["critic"], new.trainable["critic"])
    own, _ = SCORE(state, rollout, config)
    mask = rollout.mask
    tokens, columns, lengths = args = dense(rollout)
    places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    segment_ids = (places < lengths[:, None]).astype(np.int32)

    def loss(params: Any, head: Any) -> jax.Array:
        hidden = merge(ACTOR_GRAPH, params).hidden(tokens, places, segment_ids)
        values = jnp.take_along_axis(hidden @ head["value_head"], columns - 1, axis=1)
        logprobs = dense_logprobs(params, *args)
        policy = -jnp.sum(jnp.where(mask, own.advantages * jnp.exp(logprobs - own.old_logprobs), 0))
        return (policy + 0.25 * jnp.sum(jnp.where(mask, (values - own.returns) ** 2, 0))) / mask.sum()

    change = jax.tree.map(jnp.subtract, state.trainable, new.trainable)
    expected = jax.grad(loss, argnums=(0, 1))(state.trainable["actor"], state.trainable["critic"])
    assert_trees_close((change["actor"], change["critic"]), expected, rtol=2e-3)
    assert "explained_variance" in metrics


def test_only_the_critic_learns_while_it_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy and its optimizer stay, and nothing is computed for the policy's gradient; then both learn."""
    config = AlgorithmConfig(critic_warmup=1, kl_target=1.0)
    adam, rollout = optax.adam(1e-3), random_rollout(16, 24, layout=Layout(tokens=128))
    reads: list[None] = []

    def counted(*args: Any) -> TokenScores:
        jax.debug.callback(lambda: reads.append(None))
        return policy_scores(*args)

    monkeypatch.setattr("tl_jax.rl.minibatch_losses.policy_scores", counted)
    step = jax.jit(make_rl_step(spec_of(adam, config)))

    def learn(state: RlState) -> tuple[RlState, int]:
        reads.clear()
        new = jax.block_until_ready(step(state, rollout)[0])
        jax.effects_barrier()
        return new, len(reads)

    state = drifted_state(config, adam)
    after_one, read = learn(state)
    assert read == 0
    assert after_one.kl_coef == state.kl_coef
    for before, after in ((state.trainable, after_one.trainable), (state.opt_state, after_one.opt_state)):
        assert not moved(before["actor"], after["actor"])
        assert moved(before["critic"], after["critic"])
    after_two, read = learn(after_one)
    assert read == rollout.rows.segment_ids.any(axis=(0, 1, 3)).sum()
    assert moved(after_one.trainable["actor"], after_two.trainable["actor"])
    assert after_two.kl_coef != state.kl_coef


@pytest.mark.parametrize(
    ("critic_backbone", "layout"),
    [("sft", Layout()), ("shared", Layout(tokens=128))],
    ids=["its own, at once", "shared, in parts"],
)
def test_the_critic_warms_up_as_it_learns_later(critic_backbone: str, layout: Layout) -> None:
    """Without the actor's gradient, the critic's update and its metrics are those of a step that teaches both; and
    that step is the same after a warm-up as without one."""
    both = AlgorithmConfig(critic_backbone=critic_backbone, kl_coef=0.2, old_log_probs="recompute")
    state, rollout = drifted_state(both, optax.sgd(0.1)), random_rollout(16, 24, layout=layout)
    _, expected, told = one_step(both, rollout, state)
    warming = both.model_copy(update={"critic_warmup": 1})
    _, new, metrics = one_step(warming, rollout, state)
    assert_trees_close(new.trainable["critic"], expected.trainable["critic"], rtol=1e-5)
    assert metrics["grad_norm"] == 0
    for name in told.keys() - {"grad_norm"}:
        assert metrics[name] == pytest.approx(float(told[name]), rel=1e-4, abs=1e-5), name
    _, new, metrics = one_step(warming, rollout, replace(state, step=state.step + 1))
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-5)
    assert metrics == pytest.approx({name: float(value) for name, value in told.items()}, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("critic_backbone", ["sft", "shared"])
def test_no_gradient_goes_through_a_condition_for_the_warm_up(critic_backbone: str) -> None:
    """Those of CodeLLaMA-7B took 32 GiB more of each of eight devices when they did."""
    config = AlgorithmConfig(critic_warmup=1, critic_backbone=critic_backbone)
    state, spec = drifted_state(config, sgd := optax.sgd(1.0)), spec_of(sgd, config)
    program = jax.make_jaxpr(make_rl_step(spec))(state, random_rollout(16, 24, layout=Layout(tokens=128)))
    shape = state.trainable["actor"]["layers"]["q"].shape
    giving = {
        one.primitive.name for one in equations(program.jaxpr) if shape in (out.aval.shape for out in one.outvars)
    }
    assert "while" in giving
    assert "cond" not in giving
