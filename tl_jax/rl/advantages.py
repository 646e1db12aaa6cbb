"""From rewards per token to advantages per token: GAE with a critic, or answers of a group against each other.

Arrays are float32 ``[B, N]``: ``B`` answers of up to ``N`` tokens. ``mask`` is True on the tokens the policy wrote, EOS
included, and is always given: nothing here is ever inferred from a token id. A row may have gaps (a tool's reply within
an episode); what is outside the mask has no influence on anything. The answers of a group, ``group_size`` answers to
the same prompt, are consecutive rows. All statistics are over the whole rollout: call these functions on it, never on
a part.
"""

from __future__ import annotations

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


def whiten(x: jax.Array, mask: jax.Array, keep_mean: bool = False) -> jax.Array:
    """``x`` with variance 1 and, unless ``keep_mean``, mean 0 over the whole masked array; 0 outside it."""
    mean = masked_mean(x, mask)
    white = (x - mean) * jax.lax.rsqrt(masked_variance(x, mask) + 1e-8)
    return jnp.where(mask, white + mean if keep_mean else white, 0.0)


def explained_variance(values: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """``1 - Var(returns - values) / Var(returns)``: 1 = a perfect critic, 0 = no better than a constant."""
    return 1.0 - masked_variance(returns - values, mask) / (masked_variance(returns, mask) + 1e-8)


# --- with a critic ----------------------------------------------------------------------------------------------------


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, gamma: float, lam: float, last_values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

    Args:
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


def group_normalised(returns: jax.Array, group_size: int) -> jax.Array:
    """GRPO: ``(R_i - mean) / std`` of the group, [B] (https://arxiv.org/abs/2402.03300, section 4.1.2).

    ``std`` is the sample's (divided by ``group_size - 1``). A group whose returns are equal gets 0.
    """
    groups = _grouped(returns, group_size)
    centred = groups - jnp.mean(groups, axis=1, keepdims=True)
    return (centred / (jnp.std(groups, axis=1, ddof=1, keepdims=True) + GROUP_EPSILON)).reshape(-1)


def group_centred(returns: jax.Array, group_size: int) -> jax.Array:
    """Dr. GRPO: ``R_i - mean`` of the group, [B] (https://arxiv.org/abs/2503.20783, section 3.2)."""
    groups = _grouped(returns, group_size)
    return (groups - jnp.mean(groups, axis=1, keepdims=True)).reshape(-1)


def leave_one_out(returns: jax.Array, group_size: int) -> jax.Array:
    """RLOO: ``R_i`` minus the mean of the others of the group, [B] (https://arxiv.org/abs/2402.14740)."""
    groups = _grouped(returns, group_size)
    others = (jnp.sum(groups, axis=1, keepdims=True) - groups) / (group_size - 1)
    return (groups - others).reshape(-1)


def rewards_normalised_apart(parts: jax.Array, weights: jax.Array, group_size: int) -> jax.Array:
    """GDPO: each reward normalised within its group, then their weighted sum, [B] (https://arxiv.org/abs/2601.05242).

    Summing first, as GRPO does, gives different combinations of rewards the same advantage. The caller whitens the
    result over the whole batch, so that its size does not grow with the number of rewards.

    Args:
        parts: [B, R], each answer's rewards.
        weights: [R].
    """
    chex.assert_shape(weights, parts.shape[1:])
    normalised = jax.vmap(group_normalised, in_axes=(1, None), out_axes=1)(parts, group_size)
    return jnp.einsum("br,r->b", normalised, weights)


def equal_groups(returns: jax.Array, group_size: int) -> jax.Array:
    """bool [B]: True for the answers of a group whose returns are all equal, which teaches nothing."""
    groups = _grouped(returns, group_size)
    return jnp.repeat(jnp.max(groups, axis=1) == jnp.min(groups, axis=1), group_size)


def _grouped(returns: jax.Array, group_size: int) -> jax.Array:
    """[B] -> [B / group_size, group_size]"""
    chex.assert_rank(returns, 1)
    if group_size < 2:
        raise ValueError(f"a group of {group_size} has nothing to compare an answer with")
    return returns.reshape(-1, group_size)
