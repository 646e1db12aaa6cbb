"""From rewards per token to advantages per token: GAE with a critic, or answers of a group against each other.

Arrays are float32 ``[B, N]``: ``B`` answers of up to ``N`` tokens. ``mask`` is True on the tokens the policy wrote, EOS
included, and is always given: nothing here is ever inferred from a token id. A row may have gaps (a tool's reply within
an episode); what is outside the mask has no influence on anything. The answers of a group, ``group_size`` answers to
the same prompt, are consecutive rows. All statistics are over the whole rollout: call these functions on it, never on
a part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp

GROUP_EPSILON = 1e-6
"""Added to a group's standard deviation before dividing by it."""


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of ``x`` where ``mask``, a scalar; 0 when the mask is empty."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def masked_variance(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Population variance of ``x`` where ``mask``, a scalar."""
    return masked_mean((x - masked_mean(x, mask)) ** 2, mask)


def whiten(x: jax.Array, mask: jax.Array, keep_mean: bool = False, over: jax.Array | None = None) -> jax.Array:
    """``x`` with variance 1 and, unless ``keep_mean``, mean 0 over the whole masked array; 0 outside it.

    Args:
        over: bool, the entries of ``mask`` that the statistics are of, where not all of it.
    """
    over = mask if over is None else over
    mean = masked_mean(x, over)
    white = (x - mean) * jax.lax.rsqrt(masked_variance(x, over) + 1e-8)
    return jnp.where(mask, white + mean if keep_mean else white, 0.0)


def explained_variance(values: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """``1 - Var(returns - values) / Var(returns)``: 1 = a perfect critic, 0 = no better than a constant. 0 where
    returns are equal: there is nothing to explain."""
    variance = masked_variance(returns, mask)
    varies = variance > 1e-6
    return jnp.where(varies, 1.0 - masked_variance(returns - values, mask) / jnp.where(varies, variance, 1.0), 0.0)


# --- with a critic ----------------------------------------------------------------------------------------------------


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, gamma: float, lam: float | jax.Array, last_values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

    Args:
        lam: of all episodes, or [B], of each.
        last_values: [B], what is still expected after an episode's last token: 0 where it ended.

    Returns:
        advantages and returns (``advantages + values``), both [B, N] and 0 outside the mask.
    """
    chex.assert_rank(mask, 2)
    chex.assert_equal_shape([rewards, values, mask])
    chex.assert_shape(last_values, mask.shape[:1])

    def backwards(after: tuple[jax.Array, jax.Array], now: tuple[jax.Array, ...]) -> tuple[tuple, jax.Array]:
        next_advantage, next_value = after
        reward, value, inside = now
        advantage = reward + gamma * next_value - value + gamma * lam * next_advantage
        here = (jnp.where(inside, advantage, next_advantage), jnp.where(inside, value, next_value))
        return here, jnp.where(inside, advantage, 0.0)

    end = (jnp.zeros_like(last_values), last_values)
    _, advantages = jax.lax.scan(backwards, end, (rewards.T, values.T, mask.T), reverse=True)
    return advantages.T, jnp.where(mask, advantages.T + values, 0.0)


def lambda_by_length(mask: jax.Array, alpha: float) -> jax.Array:
    """VAPO: ``1 - 1 / (alpha * l)`` of each row with ``l`` masked entries, [B]; 0 where that is less
    (https://arxiv.org/abs/2504.05118, section 3.2).

    The weights ``lam^t`` of an episode's errors add up to ``alpha * l`` then: long episodes look as far ahead as short
    ones do, by their own measure.
    """
    return jnp.maximum(1.0 - 1.0 / (alpha * jnp.maximum(jnp.sum(mask, axis=1), 1)), 0.0)


def after_last(x: jax.Array, mask: jax.Array) -> jax.Array:
    """[B]: ``x`` [B, N] in the column after a row's last masked one (the last column where there is none after it)."""
    last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1]), -1), axis=1)
    column = jnp.minimum(last + 1, mask.shape[1] - 1)
    return jnp.take_along_axis(x, column[:, None], axis=1)[:, 0]


# --- without one ------------------------------------------------------------------------------------------------------


def returns_to_go(rewards: jax.Array, mask: jax.Array, gamma: float) -> jax.Array:
    """``sum_k gamma^k r_{t+k}`` over the masked tokens from t on, [B, N]: GAE with values of 0 and lambda 1."""
    nothing = jnp.zeros(rewards.shape[0], rewards.dtype)
    return gae(rewards, jnp.zeros_like(rewards), mask, gamma, 1.0, nothing)[0]


def episode_returns(rewards: jax.Array, mask: jax.Array) -> jax.Array:
    """Undiscounted sum of each row's rewards, [B]."""
    return jnp.sum(jnp.where(mask, rewards, 0.0), axis=1)


Compare: TypeAlias = Callable[[jax.Array, "Group"], jax.Array]
"""Returns [B] to advantages [B], each compared with those of its group."""


class Group(NamedTuple):
    """Who is compared with whom: every ``size`` consecutive rows, as far as they are present."""

    size: int
    present: jax.Array
    """bool [B]; others count nowhere and get 0"""
    equal: jax.Array
    """bool [B]: what its group earned is the same, so that returns differ by the KL alone"""

    @classmethod
    def of(cls, earned: jax.Array, size: int, present: jax.Array | None = None) -> Group:
        """Groups of rows.

        Args:
            earned: [B], the returns without KL.
            size: of a group, 2 or more.
            present: bool [B], by default all.
        """
        chex.assert_rank(earned, 1)
        if size < 2:
            raise ValueError(f"a group of {size} has nothing to compare an answer with")
        present = jnp.ones(earned.shape, bool) if present is None else present
        high = jnp.where(present, earned, -jnp.inf).reshape(-1, size).max(axis=1)
        low = jnp.where(present, earned, jnp.inf).reshape(-1, size).min(axis=1)
        return cls(size, present, jnp.repeat(high <= low, size))

    def sum(self, x: jax.Array) -> jax.Array:
        """[B]: of each row's group."""
        return jnp.repeat(jnp.where(self.present, x, 0.0).reshape(-1, self.size).sum(axis=1), self.size)

    @property
    def members(self) -> jax.Array:
        """float32 [B]: how many of each row's group are present; 1 or more."""
        return jnp.maximum(self.sum(jnp.ones(self.present.shape)), 1.0)

    def mean(self, x: jax.Array) -> jax.Array:
        """[B]: of each row's group."""
        return self.sum(x) / self.members


def group_normalised(returns: jax.Array, group: Group) -> jax.Array:
    """GRPO: ``(R_i - mean) / std`` of the group, [B] (https://arxiv.org/abs/2402.03300, section 4.1.2).

    ``std`` is the sample's (divided by ``group_size - 1``). A group that earned the same has no deviation but that of
    the KL; there it is 1 at least, so that noise is not blown up to the size of a reward.
    """
    centred = group_centred(returns, group)
    deviation = jnp.sqrt(group.sum(centred**2) / jnp.maximum(group.members - 1.0, 1.0))
    return centred / (jnp.maximum(deviation, jnp.where(group.equal, 1.0, 0.0)) + GROUP_EPSILON)


def group_centred(returns: jax.Array, group: Group) -> jax.Array:
    """Dr. GRPO: ``R_i - mean`` of the group, [B] (https://arxiv.org/abs/2503.20783, section 3.2)."""
    return jnp.where(group.present, returns - group.mean(returns), 0.0)


def leave_one_out(returns: jax.Array, group: Group) -> jax.Array:
    """RLOO: ``R_i`` minus the mean of the others of the group, [B]; 0 where there are none
    (https://arxiv.org/abs/2402.14740)."""
    others = group.members - 1.0
    return jnp.where(others > 0, group_centred(returns, group) * group.members / jnp.maximum(others, 1.0), 0.0)


def mean_scaled(returns: jax.Array, group: Group) -> jax.Array:
    """MaxRL: ``(R_i - mean) / mean`` of the group, [B] (https://arxiv.org/abs/2602.02710); 0 where all earned 0.

    For returns of 0 and more, at best of 0 or 1: the gradient is then that of ``log P(right)``, of whose series in
    ``P(wrong)`` the first ``group_size - 1`` terms are there; a prompt weighs the more the fewer answers are right.
    """
    mean = group.mean(returns)
    return jnp.where(mean > 0, group_centred(returns, group) / jnp.where(mean > 0, mean, 1.0), 0.0)
