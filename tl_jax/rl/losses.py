"""What policy and critic minimise, token by token, and how tokens are averaged.

Arrays are float32 ``[B, N]``; ``None`` switches a limit off, 0 is a limit of 0.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tl_jax.config.estimators import Average
from tl_jax.rl.kl import bounded_exp


class TokenLosses(NamedTuple):
    """Losses [B, N] and which of them the clipping holds back, bool [B, N]. Only masked tokens mean anything."""

    losses: jax.Array
    clipped: jax.Array


def policy_losses(
    logprobs: jax.Array,
    old_logprobs: jax.Array,
    advantages: jax.Array,
    clip_low: float | None,
    clip_high: float | None,
    dual_clip: float | None = None,
) -> TokenLosses:
    """PPO's clipped surrogate, to be minimised (https://arxiv.org/abs/1707.06347, eq. 7).

    ``-min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)``; two limits as in https://arxiv.org/abs/2503.14476,
    section 3.1. ``dual_clip`` c > 1 bounds the loss of a bad token (A < 0) by ``-c A``
    (https://arxiv.org/abs/1912.09729).
    """
    chex.assert_equal_shape([logprobs, old_logprobs, advantages])
    ratio = bounded_exp(logprobs - old_logprobs)
    low = -jnp.inf if clip_low is None else 1.0 - clip_low
    high = jnp.inf if clip_high is None else 1.0 + clip_high
    free, limited = -advantages * ratio, -advantages * jnp.clip(ratio, low, high)
    losses, clipped = jnp.maximum(free, limited), limited > free
    if dual_clip is not None:
        bound = -dual_clip * advantages
        bad = (advantages < 0) & (losses > bound)
        losses, clipped = jnp.where(bad, bound, losses), clipped | bad
    return TokenLosses(losses, clipped)


def value_losses(values: jax.Array, old_values: jax.Array, returns: jax.Array, clip: float | None) -> TokenLosses:
    """``0.5 (value - return)^2``; with ``clip`` the worse of it and the same with the value held near the old one
    (https://arxiv.org/abs/2005.12729, section 3)."""
    chex.assert_equal_shape([values, old_values, returns])
    free = (values - returns) ** 2
    if clip is None:
        return TokenLosses(0.5 * free, jnp.zeros(free.shape, bool))
    limited = (jnp.clip(values, old_values - clip, old_values + clip) - returns) ** 2  # a value within is itself
    return TokenLosses(0.5 * jnp.maximum(free, limited), limited > free)


def importance_weights(logprobs: jax.Array, drawn_logprobs: jax.Array, cap: float | None) -> jax.Array:
    """``min(pi / p, cap)`` for each token, p = the probability with which the sampler says it drew it; no gradient.

    Truncated importance sampling: it corrects for a sampler that computes with other rounding than the trainer
    (https://fengyao.notion.site/off-policy-rl), or that draws from the likeliest tokens only. All ones where ``cap`` is
    ``None``.
    """
    if cap is None:
        return jnp.ones_like(logprobs)
    return jax.lax.stop_gradient(jnp.minimum(bounded_exp(logprobs - drawn_logprobs), cap))


def token_weights(mask: jax.Array, average: Average, length: int) -> jax.Array:
    """What each token counts, [B, N]: a loss is ``sum(weights * losses)``. 0 outside the mask.

    tokens: the mean over all tokens (https://arxiv.org/abs/2503.14476, section 3.3).
    answers: the mean over answers of each one's mean over its tokens (https://arxiv.org/abs/2402.03300, eq. 3).
    length: the sum over each answer's tokens, divided by ``length``, the longest an answer can be; the mean of that
        over answers (https://arxiv.org/abs/2503.20783, section 3.2).

    An answer without any token in the mask counts nowhere.
    """
    tokens = jnp.sum(mask, axis=1, keepdims=True)
    answers = jnp.maximum(jnp.sum(tokens > 0), 1)
    if average == "tokens":
        share = 1.0 / jnp.maximum(jnp.sum(mask), 1)
    else:
        share = 1.0 / ((jnp.maximum(tokens, 1) if average == "answers" else length) * answers)
    return jnp.where(mask, share, 0.0)


def weighted_sum(x: jax.Array, weights: jax.Array) -> jax.Array:
    """``sum(weights * x)``, a scalar; where a weight is 0, ``x`` may be anything."""
    return jnp.sum(jnp.where(weights > 0, weights * jnp.where(weights > 0, x, 0.0), 0.0))
