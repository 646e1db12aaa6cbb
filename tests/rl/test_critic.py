"""How the critic begins and what it learns, in a step of its own and beside the policy."""

from __future__ import annotations

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
)
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import AlgorithmConfig
from tl_jax.model.llama import init_params, merge


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


def test_only_the_critic_learns_while_it_warms_up() -> None:
    config = AlgorithmConfig(critic_warmup=1, kl_target=1.0)
    state, after_one, _ = one_step(config, random_rollout())
    assert after_one.kl_coef == state.kl_coef
    for before, after in ((state.trainable, after_one.trainable), (state.opt_state, after_one.opt_state)):
        assert not moved(before["actor"], after["actor"])
    assert moved(state.trainable["critic"], after_one.trainable["critic"])
    _, after_two, _ = one_step(config, random_rollout(), after_one)
    assert moved(after_one.trainable["actor"], after_two.trainable["actor"])
    assert after_two.kl_coef != state.kl_coef


@pytest.mark.parametrize("critic_backbone", ["sft", "shared"])
def test_the_critic_warms_up_as_it_learns_later(critic_backbone: str) -> None:
    """Without the actor's gradient, the critic's update and its metrics are those of a step that teaches both."""
    both = AlgorithmConfig(critic_backbone=critic_backbone, kl_coef=0.2)
    state, rollout = drifted_state(both, optax.sgd(0.1)), random_rollout()
    _, expected, told = one_step(both, rollout, state)
    _, new, metrics = one_step(both.model_copy(update={"critic_warmup": 1}), rollout, state)
    assert_trees_close(new.trainable["critic"], expected.trainable["critic"], rtol=1e-5)
    assert metrics["grad_norm"] == 0
    for name in told.keys() - {"grad_norm"}:
        assert metrics[name] == pytest.approx(float(told[name]), rel=1e-4, abs=1e-5), name
