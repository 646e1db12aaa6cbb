"""KL estimators against exact divergences, and the coefficient's adaptation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.rl.kl import KlEstimator, adapted_kl_coef, kl_estimate, shaped_rewards

REFERENCE = jnp.log(jnp.array([0.2, 0.3, 0.5]))
LOGITS = jnp.array([1.0, -0.2, 0.4])


def exact(logits: Any, reverse: bool = True) -> jax.Array:
    """KL(pi || ref), or KL(ref || pi)."""
    policy = jax.nn.log_softmax(logits)
    p, q = (policy, REFERENCE) if reverse else (REFERENCE, policy)
    return jnp.sum(jnp.exp(p) * (p - q))


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(kind: KlEstimator) -> None:
    policy = jax.nn.log_softmax(LOGITS)
    mean = jnp.sum(jnp.exp(policy) * kl_estimate(kind, policy, REFERENCE))
    np.testing.assert_allclose(mean, exact(LOGITS), rtol=1e-5)


def loss_gradient(kind: KlEstimator) -> jax.Array:
    """The expected gradient of the estimate in the loss: tokens drawn from the policy, which is held."""
    weights = jax.lax.stop_gradient(jax.nn.softmax(LOGITS))
    return jax.grad(lambda x: jnp.sum(weights * kl_estimate(kind, jax.nn.log_softmax(x), REFERENCE)))(LOGITS)


def reward_gradient(kind: KlEstimator, logits: jax.Array = LOGITS) -> jax.Array:
    """The policy gradient with the estimate as a cost: E[k grad log pi]."""
    weights = jax.nn.softmax(logits)
    cost = kl_estimate(kind, jax.nn.log_softmax(logits), REFERENCE)
    return jax.grad(lambda x: jnp.sum(weights * cost * jax.nn.log_softmax(x)))(logits)


def test_each_estimator_has_the_gradient_that_its_place_needs() -> None:
    np.testing.assert_allclose(reward_gradient("k1"), jax.grad(exact)(LOGITS), rtol=1e-4)
    np.testing.assert_allclose(loss_gradient("k2"), jax.grad(exact)(LOGITS), rtol=1e-4)
    np.testing.assert_allclose(loss_gradient("k3"), jax.grad(lambda x: exact(x, reverse=False))(LOGITS), rtol=1e-4)
    np.testing.assert_allclose(loss_gradient("k1"), 0, atol=1e-6)


def test_k2_and_k3_in_the_reward_almost_vanish_near_the_reference_policy() -> None:
    near = REFERENCE + 0.01 * jnp.array([1.0, -1.0, 0.5])
    true = jnp.linalg.norm(jax.grad(exact)(near))
    np.testing.assert_allclose(jnp.linalg.norm(reward_gradient("k1", near)), true, rtol=1e-2)
    for kind in ("k2", "k3"):
        assert jnp.linalg.norm(reward_gradient(kind, near)) < 0.02 * true


def test_shaped_rewards_have_the_kl_on_every_token() -> None:
    mask = jnp.array([[True, True, True], [True, False, False]])
    rewards = jnp.array([[0.0, 0.0, 1.0], [-2.0, 5.0, 5.0]])
    kl = jnp.array([[0.1, -0.2, 0.3], [0.5, 7.0, 7.0]])
    np.testing.assert_allclose(shaped_rewards(rewards, kl, mask, 0.4), [[-0.04, 0.08, 0.88], [-2.2, 0, 0]], rtol=1e-6)


def test_the_coefficient_follows_its_target() -> None:
    """Ziegler et al.: at most a fifth of the rate per rollout, up when the KL is too large, down when too small."""
    coef = jnp.float32(0.5)
    assert adapted_kl_coef(coef, jnp.float32(60), 6.0, 0.1) == pytest.approx(0.5 * 1.02)
    assert adapted_kl_coef(coef, jnp.float32(6.6), 6.0, 0.1) == pytest.approx(0.5 * 1.01)
    assert adapted_kl_coef(coef, jnp.float32(0), 6.0, 0.1) == pytest.approx(0.5 * 0.98)
    assert adapted_kl_coef(coef, jnp.float32(60), None, 0.1) == coef
