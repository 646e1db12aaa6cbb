"""Estimators: functions from the rewards of a rollout to advantages. The arithmetic is in `advantages.py`.

Which there are says `tl_jax.config.estimators.ESTIMATORS`; each record names its function. All of them are called
alike, with `EstimatorInputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

from tl_jax.config import AlgorithmConfig
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.errors import UserError
from tl_jax.plugins import resolve
from tl_jax.rl import advantages as adv
from tl_jax.rl.kl import shaped_rewards


@dataclass(frozen=True)
class EstimatorInputs:
    """A whole rollout, never a part of one: B episodes in which the policy wrote up to N tokens; R rewards.

    The episodes of a group, answers to the same prompt, are consecutive. Nothing outside ``mask`` may have influence.
    """

    rewards: jax.Array
    """float32 [B, N, R], on the last token of the turn that earned them"""
    weights: jax.Array
    """float32 [R], of the rewards"""
    kl: jax.Array
    """float32 [B, N]: ``log pi - log ref``"""
    kl_coef: jax.Array | float
    values: jax.Array
    """float32 [B, N], the critic's; 0 without one"""
    last_values: jax.Array
    """float32 [B]: what the critic still expects of an episode that was cut off"""
    mask: jax.Array
    """bool [B, N]: tokens that the policy wrote"""
    group_size: int
    """1 where there are no groups"""
    config: AlgorithmConfig

    def __post_init__(self) -> None:
        chex.assert_rank(self.rewards, 3)
        chex.assert_equal_shape([self.rewards[..., 0], self.kl, self.values, self.mask])
        chex.assert_shape(self.weights, self.rewards.shape[2:])
        chex.assert_shape(self.last_values, self.mask.shape[:1])

    @cached_property
    def earned(self) -> jax.Array:
        """float32 [B, N]: the weighted sum of the rewards, without KL; 0 outside the mask."""
        return jnp.where(self.mask, jnp.einsum("bnr,r->bn", self.rewards, self.weights), 0.0)

    @cached_property
    def shaped(self) -> jax.Array:
        """float32 [B, N]: `earned`, less the KL if ``kl_in=reward``, whitened if ``whiten_rewards``."""
        shaped = self.earned
        if self.config.kl_in == "reward":
            shaped = shaped_rewards(shaped, self.kl, self.mask, self.kl_coef)
        return adv.whiten(shaped, self.mask, keep_mean=True) if self.config.whiten_rewards else shaped

    @cached_property
    def returns(self) -> jax.Array:
        """float32 [B]: each episode's sum of `shaped`."""
        return adv.episode_returns(self.shaped, self.mask)


Advantages: TypeAlias = jax.Array
"""float32 [B, N], or [B] where all tokens of an episode have the same; what is outside the mask is ignored"""
Compute: TypeAlias = Callable[[EstimatorInputs], Advantages | tuple[Advantages, jax.Array]]
"""An estimator. With a critic it also gives returns, float32 [B, N]: what the critic should have expected."""


def gae(inputs: EstimatorInputs) -> tuple[Advantages, jax.Array]:
    """Generalised advantage estimation with a critic, for PPO (https://arxiv.org/abs/1506.02438)."""
    config, mask = inputs.config, inputs.mask
    advantages, returns = adv.gae(inputs.shaped, inputs.values, mask, config.gamma, config.lam, inputs.last_values)
    if config.whiten_advantages:
        advantages = adv.whiten(advantages, mask)
    return advantages, returns


def grpo(inputs: EstimatorInputs) -> Advantages:
    """Each return normalised in its group (https://arxiv.org/abs/2402.03300)."""
    return adv.group_normalised(inputs.returns, inputs.group_size)


def dr_grpo(inputs: EstimatorInputs) -> Advantages:
    """Each return less its group's mean (https://arxiv.org/abs/2503.20783)."""
    return adv.group_centred(inputs.returns, inputs.group_size)


def rloo(inputs: EstimatorInputs) -> Advantages:
    """Each return less the mean of the others of its group (https://arxiv.org/abs/2402.14740)."""
    return adv.leave_one_out(inputs.returns, inputs.group_size)


def reinforce_plus_plus(inputs: EstimatorInputs) -> Advantages:
    """Returns to go, less the group's mean return where there are groups, whitened over the rollout
    (https://arxiv.org/abs/2501.03262)."""
    advantages = adv.returns_to_go(inputs.shaped, inputs.mask, inputs.config.gamma)
    if inputs.group_size > 1:
        advantages -= (inputs.returns - adv.group_centred(inputs.returns, inputs.group_size))[:, None]
    return adv.whiten(advantages, inputs.mask)


def gdpo(inputs: EstimatorInputs) -> Advantages:
    """Each reward normalised in its group by itself; their weighted sum, whitened over the episodes
    (https://arxiv.org/abs/2601.05242)."""
    apart = jnp.sum(jnp.where(inputs.mask[..., None], inputs.rewards, 0.0), axis=1)
    advantages = adv.rewards_normalised_apart(apart, inputs.weights, inputs.group_size)
    return adv.whiten(advantages, jnp.ones(advantages.shape, bool))


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


def estimate(inputs: EstimatorInputs) -> Estimate:
    """Advantages of a whole rollout by ``inputs.config.estimator``.

    Raises:
        UserError: no such estimator, or its function does not return what `Compute` says.
    """
    mask, group_size = inputs.mask, inputs.group_size
    advantages, returns = _computed(inputs)
    scores = adv.episode_returns(inputs.earned, mask)
    equal = adv.equal_groups(scores, group_size) if group_size > 1 else jnp.zeros(scores.shape, bool)
    return Estimate(jnp.where(mask, advantages, 0.0), returns, scores, equal)


def _computed(inputs: EstimatorInputs) -> tuple[jax.Array, jax.Array]:
    """Advantages and returns as the estimator's function gives them, both [B, N]."""
    estimator = ESTIMATORS.find(inputs.config.estimator)
    compute: Compute = resolve(estimator.compute)
    result = compute(inputs)
    if isinstance(result, tuple) != estimator.needs_critic:
        wanted = "(advantages, returns)" if estimator.needs_critic else "advantages alone"
        raise UserError(
            f"estimator {estimator.name!r}: needs_critic={estimator.needs_critic}, so {estimator.compute} must return "
            f"{wanted}"
        )
    advantages, returns = result if isinstance(result, tuple) else (result, jnp.zeros(inputs.mask.shape))
    if advantages.shape == inputs.mask.shape[:1]:
        advantages = jnp.broadcast_to(advantages[:, None], inputs.mask.shape)
    for name, array in (("advantages", advantages), ("returns", returns)):
        if array.shape != inputs.mask.shape:
            raise UserError(
                f"estimator {estimator.name!r}: {estimator.compute} gave {name} of shape {list(array.shape)}; for "
                f"{inputs.mask.shape[0]} episodes of {inputs.mask.shape[1]} tokens it must be {list(inputs.mask.shape)}"
            )
    return advantages, returns
