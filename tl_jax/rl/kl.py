"""How far the policy is from the frozen reference policy: estimates per token, their place in the reward, and the
coefficient.

Which estimate belongs where (http://joschu.net/blog/kl-approx.html; d = log pi(token) - log ref(token)):

    k1 = d               in the reward: its policy gradient is that of KL(pi || ref). In the loss: 0 in expectation.
    k2 = d^2 / 2         in the loss: its gradient is that of KL(pi || ref).
    k3 = e^-d - 1 + d    in the loss: its gradient is that of KL(ref || pi), as in GRPO.

k2 and k3 in the reward are refused: their policy gradient is neither, and almost 0 where policy and
reference policy are close.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from tl_jax.config.estimators import KlEstimator

LARGEST_LOG = 20.0
"""Of a ratio of probabilities, so that one token makes no number infinite."""


def bounded_exp(log_ratio: jax.Array) -> jax.Array:
    """``exp`` of at most `LARGEST_LOG`: beyond it the ratio is constant, and has no gradient."""
    return jnp.exp(jnp.minimum(log_ratio, LARGEST_LOG))


def kl_estimate(kind: KlEstimator, logprobs: jax.Array, ref_logprobs: jax.Array) -> jax.Array:
    """The estimate of each token, float32 [B, N]; differentiable in ``logprobs``."""
    chex.assert_equal_shape([logprobs, ref_logprobs])
    d = logprobs - ref_logprobs
    if kind == "k1":
        return d
    return 0.5 * d**2 if kind == "k2" else jnp.expm1(jnp.minimum(-d, LARGEST_LOG)) + d


def shaped_rewards(rewards: jax.Array, kl: jax.Array, mask: jax.Array, kl_coef: jax.Array | float) -> jax.Array:
    """``rewards - kl_coef * kl`` [B, N] (https://arxiv.org/abs/1909.08593, section 2.2), 0 outside the mask."""
    chex.assert_equal_shape([rewards, kl, mask])
    return jnp.where(mask, rewards - kl_coef * kl, 0.0)


def adapted_kl_coef(kl_coef: jax.Array, kl: jax.Array, target: float | None, rate: float) -> jax.Array:
    """The coefficient after a rollout with a KL of ``kl`` per answer (https://arxiv.org/abs/1909.08593, section 2.2).

    ``kl_coef * (1 + rate * clip(kl / target - 1, -0.2, 0.2))``; without a ``target`` it stays as it is.
    """
    if target is None:
        return kl_coef
    return kl_coef * (1.0 + rate * jnp.clip(kl / target - 1.0, -0.2, 0.2))
