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
from tl_jax.config.rewards import RewardKind
from tl_jax.errors import UserError
from tl_jax.plugins import resolve
from tl_jax.rl import advantages as adv
from tl_jax.rl import turns as turns_of
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
    kinds: tuple[RewardKind, ...]
    """[R], what they are of"""
    turns: jax.Array
    """int32 [B, N]: the number of the turn that wrote a token; 0 outside the mask"""
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

    @property
    def by_turn(self) -> bool:
        """Whether turns are compared with turns, and not episodes with episodes."""
        return self.config.advantage_scope == "turn" or ESTIMATORS[self.config.estimator].always_by_turn

    def of_kind(self, *kinds: RewardKind) -> jax.Array:
        """float32 [B, N]: `earned`, of the rewards of some kinds only."""
        weights = jnp.where(jnp.array([kind in kinds for kind in self.kinds]), self.weights, 0.0)
        return jnp.where(self.mask, jnp.einsum("bnr,r->bn", self.rewards, weights), 0.0)

    def compared(self, compare: adv.Compare) -> Advantages:
        """Advantages [B, N] of `shaped` within the groups, by ``advantage_scope``.

        episode: the whole return, for all tokens of an episode.
        turn: what is earned from the turn on, against the same turn of those of the group that have one; and apart
            from it the outcome, against those of the group.
        """
        if not self.by_turn:
            return self.against_group(self.shaped, self.earned, compare, by_turn=False)
        outcome = self.of_kind("outcome")
        turns = self.against_group(self.shaped - outcome, self.earned - outcome, compare, by_turn=True)
        if "outcome" not in self.kinds:
            return turns
        return turns + self.against_group(outcome, outcome, compare, by_turn=False)

    def against_group(self, shaped: jax.Array, earned: jax.Array, compare: adv.Compare, by_turn: bool) -> jax.Array:
        """Advantages [B, N] of rewards on tokens within the groups.

        Args:
            shaped: [B, N], 0 outside the mask.
            earned: the same without KL.
            compare: of `advantages`.
            by_turn: as `compared` says.
        """
        if not by_turn:
            group = adv.Group.of(earned.sum(axis=1), self.group_size)
            return jnp.broadcast_to(compare(shaped.sum(axis=1), group)[:, None], self.mask.shape)

        def of_one_turn(returns: jax.Array, earned: jax.Array, present: jax.Array) -> jax.Array:
            return compare(returns, adv.Group.of(earned, self.group_size, present))

        still, of_turns = jax.vmap(of_one_turn, in_axes=1, out_axes=1), self.to_come
        return self.on_tokens(still(of_turns(shaped), of_turns(earned), self.present))

    def to_come(self, x: jax.Array) -> jax.Array:
        """[B, N] of turns: what ``x``, of tokens, adds up to from a turn on."""
        return turns_of.to_come(turns_of.turn_sums(x, self.turns, self.mask))

    def on_tokens(self, x: jax.Array) -> jax.Array:
        """[B, N] of tokens: what ``x`` has for the turn of each."""
        return jnp.where(self.mask, turns_of.on_tokens(x, self.turns), 0.0)

    @cached_property
    def present(self) -> jax.Array:
        """bool [B, N] of turns: whether the episode has such a turn."""
        return turns_of.turns_present(self.turns, self.mask)

    @cached_property
    def first_tokens(self) -> jax.Array:
        """bool [B, N]: the first token of everything that has one advantage, a turn or an episode."""
        turns = self.turns if self.by_turn else jnp.zeros_like(self.turns)
        return turns_of.first_tokens(turns, self.mask)

    @cached_property
    def equal(self) -> jax.Array:
        """bool [B]: all answers of the group earned the same in everything that is compared, and teach nothing."""
        parts = self.earned[..., None]
        if ESTIMATORS[self.config.estimator].rewards_apart:
            parts = self.rewards * self.weights
        elif self.config.advantage_scope == "turn":
            outcome = self.of_kind("outcome")
            parts = jnp.stack([self.earned - outcome, outcome], axis=2)
        earned = [jnp.where(self.mask, parts[..., r], 0.0) for r in range(parts.shape[2])]
        if not self.by_turn:
            found = [adv.Group.of(x.sum(axis=1), self.group_size).equal for x in earned]
            return jnp.all(jnp.array(found), axis=0)

        def in_turn(returns: jax.Array, present: jax.Array) -> jax.Array:
            return adv.Group.of(returns, self.group_size, present).equal

        in_turns = [jax.vmap(in_turn, in_axes=1, out_axes=1)(self.to_come(x), self.present) for x in earned]
        return jnp.all(jnp.array(in_turns), axis=(0, 2))


Advantages: TypeAlias = jax.Array
"""float32 [B, N], or [B] where all tokens of an episode have the same; what is outside the mask is ignored"""
Compute: TypeAlias = Callable[[EstimatorInputs], Advantages | tuple[Advantages, jax.Array]]
"""An estimator. With a critic it also gives returns, float32 [B, N]: what the critic should have expected."""


def gae(inputs: EstimatorInputs) -> tuple[Advantages, jax.Array]:
    """Generalised advantage estimation with a critic, for PPO (https://arxiv.org/abs/1506.02438).

    The critic may learn with a lambda of its own (decoupled GAE, https://arxiv.org/abs/2504.05118, section 3.1), and
    that of the policy may go by the length of an episode. By turn, ``gamma``, ``lam`` and the length count turns, and
    all tokens of a turn have the value of its first one.
    """
    config, mask, rewards, values = inputs.config, inputs.mask, inputs.shaped, inputs.values
    if inputs.by_turn:
        rewards = turns_of.turn_sums(rewards, inputs.turns, mask)
        values = turns_of.turn_sums(jnp.where(inputs.first_tokens, values, 0.0), inputs.turns, mask)
        mask = inputs.present
    lam = config.lam if config.lam_alpha is None else adv.lambda_by_length(mask, config.lam_alpha)
    critic_lam = config.lam if config.critic_lam is None else config.critic_lam
    advantages, _ = adv.gae(rewards, values, mask, config.gamma, lam, inputs.last_values)
    _, returns = adv.gae(rewards, values, mask, config.gamma, critic_lam, inputs.last_values)
    if inputs.by_turn:
        advantages, returns = inputs.on_tokens(advantages), inputs.on_tokens(returns)
    if config.whiten_advantages:
        advantages = adv.whiten(advantages, inputs.mask)
    return advantages, returns


def grpo(inputs: EstimatorInputs) -> Advantages:
    """Each return normalised in its group (https://arxiv.org/abs/2402.03300)."""
    return inputs.compared(adv.group_normalised)


def dr_grpo(inputs: EstimatorInputs) -> Advantages:
    """Each return less its group's mean (https://arxiv.org/abs/2503.20783)."""
    return inputs.compared(adv.group_centred)


def rloo(inputs: EstimatorInputs) -> Advantages:
    """Each return less the mean of the others of its group (https://arxiv.org/abs/2402.14740)."""
    return inputs.compared(adv.leave_one_out)


def maxrl(inputs: EstimatorInputs) -> Advantages:
    """Each return less its group's mean, in shares of that mean (https://arxiv.org/abs/2602.02710)."""
    return inputs.compared(adv.mean_scaled)


def reinforce_plus_plus(inputs: EstimatorInputs) -> Advantages:
    """Returns to go, where there are groups less the mean of what the group's episodes earn from the turn on, whitened
    over the rollout (https://arxiv.org/abs/2501.03262).

    The baseline of a turn is one number, whatever comes after it. A baseline for every reward to come, added up, would
    depend on when the policy stops (https://github.com/verl-project/verl/issues/7244).
    """
    mask = inputs.mask
    advantages = adv.returns_to_go(inputs.shaped, mask, inputs.config.gamma)
    if inputs.group_size > 1:
        from_turn = turns_of.turn_sums(jnp.where(inputs.first_tokens, advantages, 0.0), inputs.turns, mask)

        def mean(returns: jax.Array, present: jax.Array) -> jax.Array:
            return adv.Group.of(returns, inputs.group_size, present).mean(returns)

        advantages -= inputs.on_tokens(jax.vmap(mean, in_axes=1, out_axes=1)(from_turn, inputs.present))
    return adv.whiten(advantages, mask)


def gdpo(inputs: EstimatorInputs) -> Advantages:
    """Each reward normalised in its group by itself; their weighted sum, whitened over the episodes
    (https://arxiv.org/abs/2601.05242).

    Summing first, as GRPO does, gives different combinations of rewards the same advantage. A penalty keeps its size:
    it is compared with the group's but not divided by their deviation, in which 1 and 100 would be the same.
    """
    advantages = jnp.zeros(inputs.mask.shape)
    for index, kind in enumerate(inputs.kinds):
        earned = jnp.where(inputs.mask, inputs.rewards[..., index], 0.0)
        compare = adv.group_centred if kind == "penalty" else adv.group_normalised
        by_turn = inputs.by_turn and kind != "outcome"
        advantages += inputs.weights[index] * inputs.against_group(earned, earned, compare, by_turn)
    return adv.whiten(advantages, inputs.mask, over=inputs.first_tokens)


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
    advantages, returns = _computed(inputs)
    scores = adv.episode_returns(inputs.earned, inputs.mask)
    equal = inputs.equal if inputs.group_size > 1 else jnp.zeros(scores.shape, bool)
    return Estimate(jnp.where(inputs.mask, advantages, 0.0), returns, scores, equal)


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
