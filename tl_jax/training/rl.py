"""The arithmetic of PPO: advantages, rewards and clipped losses as pure functions of arrays.

Arrays are float32 ``[B, N]``: ``B`` responses of up to ``N`` tokens. ``mask`` is True on the tokens the policy wrote,
EOS included, and is always given: nothing here is ever inferred from a token id. A row may have gaps (a tool's reply
within an episode); what is outside the mask has no influence on anything.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from tl_jax.training.losses import Loss


def kl_k1(logprobs: jax.Array, reference_logprobs: jax.Array) -> jax.Array:
    """``log pi(token) - log ref(token)`` [B, N]: the unbiased estimate of KL(pi || ref) that belongs in the reward.

    The lower-variance estimators k2 and k3 (http://joschu.net/blog/kl-approx.html) are for losses that are
    differentiated through the KL; as a reward their gradient all but vanishes near the reference.
    """
    return logprobs - reference_logprobs


def shaped_rewards(score: jax.Array, kl: jax.Array, mask: jax.Array, kl_coef: float) -> jax.Array:
    """Reward per token [B, N]: ``-kl_coef * kl`` everywhere, plus ``score`` [B] on the response's last token."""
    chex.assert_equal_shape([kl, mask])
    chex.assert_shape(score, mask.shape[:1])
    positions = jnp.arange(mask.shape[1])
    last = jnp.max(jnp.where(mask, positions, -1), axis=1, keepdims=True)
    final = jnp.where(positions == last, score.astype(jnp.float32)[:, None], 0.0)
    return jnp.where(mask, final - kl_coef * kl, 0.0)


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, gamma: float, lam: float
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

    The value after an episode's last token is 0, whether it ended with EOS or was cut off.

    Returns:
        advantages and returns (``advantages + values``), both [B, N] and 0 outside the mask.
    """

    chex.assert_rank(mask, 2)
    chex.assert_equal_shape([rewards, values, mask])

    def backwards(after: tuple[jax.Array, jax.Array], now: tuple[jax.Array, ...]) -> tuple[tuple, jax.Array]:
        next_advantage, next_value = after
        reward, value, inside = now
        advantage = reward + gamma * next_value - value + gamma * lam * next_advantage
        here = (jnp.where(inside, advantage, next_advantage), jnp.where(inside, value, next_value))
        return here, jnp.where(inside, advantage, 0.0)

    nothing = jnp.zeros(rewards.shape[0], rewards.dtype)
    _, advantages = jax.lax.scan(backwards, (nothing, nothing), (rewards.T, values.T, mask.T), reverse=True)
    return advantages.T, jnp.where(mask, advantages.T + values, 0.0)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of ``x`` where ``mask``, a scalar; 0 when the mask is empty."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def masked_variance(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Population variance of ``x`` where ``mask``, a scalar."""
    return masked_mean((x - masked_mean(x, mask)) ** 2, mask)


def whiten(x: jax.Array, mask: jax.Array) -> jax.Array:
    """``x`` with mean 0 and variance 1 over the whole masked array, 0 outside it. Give it the whole rollout."""
    return jnp.where(mask, (x - masked_mean(x, mask)) * jax.lax.rsqrt(masked_variance(x, mask) + 1e-8), 0.0)


def explained_variance(values: jax.Array, returns: jax.Array, mask: jax.Array) -> jax.Array:
    """``1 - Var(returns - values) / Var(returns)``: 1 = a perfect critic, 0 = no better than a constant."""
    return 1.0 - masked_variance(returns - values, mask) / (masked_variance(returns, mask) + 1e-8)


def policy_loss(
    logprobs: jax.Array, old_logprobs: jax.Array, advantages: jax.Array, mask: jax.Array, clip: float | None
) -> Loss:
    """PPO's clipped surrogate (https://arxiv.org/abs/1707.06347, eq. 7) to be minimised; ``clip=None`` = unclipped.

    Returns:
        the sum over tokens, the number of tokens, and the sums of ``clip_fraction`` (tokens whose ratio left the
        clip range in the direction that stops the gradient) and ``approx_kl`` (k3 estimate of KL(old || new)).
    """
    chex.assert_equal_shape([logprobs, old_logprobs, advantages, mask])
    log_ratio = jnp.where(mask, logprobs - old_logprobs, 0.0)
    ratio = jnp.exp(log_ratio)
    losses = -advantages * ratio
    clipped = jnp.zeros_like(mask)
    if clip is not None:
        limited = -advantages * jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
        clipped = mask & (limited > losses)
        losses = jnp.maximum(losses, limited)
    metrics = {"clip_fraction": jnp.sum(clipped), "approx_kl": jnp.sum(jnp.where(mask, ratio - 1 - log_ratio, 0.0))}
    return Loss(jnp.sum(jnp.where(mask, losses, 0.0)), jnp.sum(mask), metrics)


def value_loss(
    values: jax.Array, old_values: jax.Array, returns: jax.Array, mask: jax.Array, clip: float | None
) -> Loss:
    """``0.5 (value - return)^2``; with ``clip`` the worse of it and the same with the value held near the old one.

    Returns:
        the sum over tokens, the number of tokens, and the sum of ``value_clip_fraction``.
    """
    chex.assert_equal_shape([values, old_values, returns, mask])
    losses = (values - returns) ** 2
    clipped = jnp.zeros_like(mask)
    if clip is not None:
        limited = (old_values + jnp.clip(values - old_values, -clip, clip) - returns) ** 2
        clipped = mask & (limited > losses)
        losses = jnp.maximum(losses, limited)
    total = 0.5 * jnp.sum(jnp.where(mask, losses, 0.0))
    return Loss(total, jnp.sum(mask), {"value_clip_fraction": jnp.sum(clipped)})
