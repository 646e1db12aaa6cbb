"""Which estimator turns a rollout's rewards into advantages: the choice; the arithmetic is in `advantages.py`."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tl_jax.config import AlgorithmConfig
from tl_jax.rl import advantages as adv
from tl_jax.rl.kl import shaped_rewards


class Estimate(NamedTuple):
    """What the losses need of a rollout of B episodes."""

    advantages: jax.Array
    """float32 [B, N], 0 outside the mask"""
    returns: jax.Array
    """float32 [B, N]: what the critic should have expected; 0 without one"""
    scores: jax.Array
    """float32 [B]: weighted sum of an episode's rewards, without KL"""
    equal: jax.Array
    """bool [B]: all answers of the group earned the same; never without groups"""


def estimate(
    rewards: jax.Array,
    weights: jax.Array,
    kl: jax.Array,
    values: jax.Array,
    last_values: jax.Array,
    mask: jax.Array,
    config: AlgorithmConfig,
    *,
    kl_coef: jax.Array | float,
    group_size: int,
) -> Estimate:
    """Advantages of a whole rollout.

    Args:
        rewards: [B, N, R]
        weights: [R], of the rewards.
        kl: [B, N], ``log pi - log ref``.
        values: [B, N], the critic's; 0 without one.
        last_values: [B], what it still expects of an episode that was cut off.
        mask: [B, N]
    """
    chex.assert_rank(rewards, 3)
    chex.assert_equal_shape([rewards[..., 0], kl, values, mask])
    given = jnp.where(mask, jnp.einsum("bnr,r->bn", rewards, weights), 0.0)
    scores = adv.episode_returns(given, mask)
    shaped = shaped_rewards(given, kl, mask, kl_coef) if config.kl_in == "reward" else given
    if config.whiten_rewards:
        shaped = adv.whiten(shaped, mask, keep_mean=True)
    returns = jnp.zeros_like(given)
    if config.estimator == "gae":
        advantages, returns = adv.gae(shaped, values, mask, config.gamma, config.lam, last_values)
        if config.whiten_advantages:
            advantages = adv.whiten(advantages, mask)
    elif config.estimator == "reinforce++":
        advantages = _reinforce(shaped, mask, config.gamma, group_size)
    else:
        advantages = jnp.broadcast_to(
            _of_groups(shaped, rewards, weights, mask, config, group_size)[:, None], mask.shape
        )
    equal = adv.equal_groups(scores, group_size) if group_size > 1 else jnp.zeros(scores.shape, bool)
    return Estimate(jnp.where(mask, advantages, 0.0), returns, scores, equal)


def _of_groups(
    shaped: jax.Array,
    rewards: jax.Array,
    weights: jax.Array,
    mask: jax.Array,
    config: AlgorithmConfig,
    group_size: int,
) -> jax.Array:
    """One advantage for all tokens of an episode, [B]."""
    if config.estimator == "gdpo":
        parts = jnp.sum(jnp.where(mask[..., None], rewards, 0.0), axis=1)
        summed = adv.rewards_normalised_apart(parts, weights, group_size)
        return adv.whiten(summed, jnp.ones(summed.shape, bool))
    compare = {"grpo": adv.group_normalised, "dr_grpo": adv.group_centred, "rloo": adv.leave_one_out}
    return compare[config.estimator](adv.episode_returns(shaped, mask), group_size)


def _reinforce(shaped: jax.Array, mask: jax.Array, gamma: float, group_size: int) -> jax.Array:
    """REINFORCE++ (https://arxiv.org/abs/2501.03262): returns to go, less the group's mean return where there are
    groups, normalised over the batch."""
    to_go = adv.returns_to_go(shaped, mask, gamma)
    if group_size > 1:
        total = adv.episode_returns(shaped, mask)
        to_go -= (total - adv.group_centred(total, group_size))[:, None]
    return adv.whiten(to_go, mask)
