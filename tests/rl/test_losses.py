"""Clipped losses and averages against NumPy restatements."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.rl.test_advantages import ragged
from tl_jax.rl.kl import kl_estimate
from tl_jax.rl.losses import (
    Average,
    importance_weights,
    policy_losses,
    token_weights,
    value_losses,
    weighted_sum,
)


def test_no_token_makes_a_loss_infinite() -> None:
    """A token that has become e^100 times as likely: the loss and its gradient stay finite, whatever is not clipped."""
    new, old = jnp.array([[0.0]]), jnp.array([[-100.0]])

    def loss(new: jax.Array) -> jax.Array:
        policy = policy_losses(new, old, jnp.array([[-1.0]]), None, None).losses
        return (policy + kl_estimate("k3", old, new) + kl_estimate("k3", new, old)).sum()

    value, gradient = jax.value_and_grad(loss)(new)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.2, 0.2), (0.1, 0.3), (None, 0.2), (0.2, None), (0.0, 0.0)])
def test_policy_losses_equal_numpy(low: float | None, high: float | None) -> None:
    new, old, advantages = np.random.default_rng(4).normal(size=(3, 5, 7)).astype(np.float32)
    got = policy_losses(new, old, advantages, low, high)
    ratio = np.exp(new - old)
    limited = np.clip(ratio, -np.inf if low is None else 1 - low, np.inf if high is None else 1 + high)
    expected = -np.minimum(ratio * advantages, limited * advantages)
    np.testing.assert_allclose(got.losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(got.clipped, expected > -ratio * advantages + 1e-6)
    assert np.any(got.clipped) == (low is not None or high is not None)


def test_the_limits_are_apart() -> None:
    """Good tokens are held above, bad ones below."""
    ratio = jnp.log(jnp.array([[1.25, 0.75, 1.25, 0.75]]))
    advantages = jnp.array([[1.0, 1.0, -1.0, -1.0]])

    def clipped(low: float | None, high: float | None) -> list[bool]:
        return policy_losses(ratio, jnp.zeros((1, 4)), advantages, low, high).clipped[0].tolist()

    assert clipped(0.2, 0.2) == [True, False, False, True]
    assert clipped(0.2, 0.28) == [False, False, False, True]
    assert clipped(0.3, 0.2) == [True, False, False, False]


def test_zero_is_a_limit_and_none_is_no_limit() -> None:
    new, old, advantages = jnp.full((1, 3), 0.3), jnp.zeros((1, 3)), jnp.ones((1, 3))

    def slope(high: float | None) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(policy_losses(x, old, advantages, None, high).losses))(new)

    np.testing.assert_allclose(slope(None), -np.exp(np.full((1, 3), 0.3)), rtol=1e-6)
    assert not np.asarray(slope(0.0)).any()
    np.testing.assert_allclose(policy_losses(new, old, advantages, None, 0.0).losses, -1)


def test_dual_clip_bounds_the_loss_of_bad_tokens_only() -> None:
    log_ratio = jnp.log(jnp.array([[10.0, 2.0, 10.0]]))
    advantages = jnp.array([[-1.0, -1.0, 1.0]])
    zero = jnp.zeros((1, 3))
    np.testing.assert_allclose(policy_losses(log_ratio, zero, advantages, 0.2, 0.2).losses, [[10, 2, -1.2]], rtol=1e-5)
    bounded = policy_losses(log_ratio, zero, advantages, 0.2, 0.2, dual_clip=3.0)
    np.testing.assert_allclose(bounded.losses, [[3, 2, -1.2]], rtol=1e-5)
    assert bounded.clipped.tolist() == [[True, False, True]]
    slope = jax.grad(lambda x: jnp.sum(policy_losses(x, zero, advantages, 0.2, 0.2, 3.0).losses))(log_ratio)
    np.testing.assert_allclose(slope, [[0, 2, 0]], rtol=1e-5)


def test_a_value_within_the_limit_is_not_clipped() -> None:
    """Nor told to be, by rounding: ``old + (new - old)`` is not always ``new``."""
    random = np.random.default_rng(0)
    old, returns = random.normal(size=(2, 1000)).astype(np.float32)
    new = (old + random.uniform(-0.19, 0.19, 1000)).astype(np.float32)
    assert (old + (new - old) != new).any()
    np.testing.assert_array_equal(value_losses(new, old, returns, 0.2).clipped, False)


@pytest.mark.parametrize("clip", [None, 0.0, 0.2])
def test_value_losses_equal_numpy(clip: float | None) -> None:
    new, old, returns = np.random.default_rng(6).normal(size=(3, 5, 7)).astype(np.float32)
    got = value_losses(new, old, returns, clip)
    error = free = (new - returns) ** 2
    if clip is not None:
        error = np.maximum(free, (np.clip(new, old - clip, old + clip) - returns) ** 2)
    np.testing.assert_allclose(got.losses, 0.5 * error, rtol=1e-5, atol=1e-6)
    assert np.any(got.clipped) == (clip is not None)


def test_importance_weights_are_capped_ratios_without_gradient() -> None:
    new, drawn = jnp.log(jnp.array([[0.5, 0.2]])), jnp.log(jnp.array([[0.1, 0.4]]))
    np.testing.assert_allclose(importance_weights(new, drawn, 2.0), [[2, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(importance_weights(new, drawn, None), [[1, 1]])
    assert not np.asarray(jax.grad(lambda x: jnp.sum(importance_weights(x, drawn, 2.0)))(new)).any()


MASK = jnp.array([[True, True, False, True], [False, True, False, False], [False] * 4])


CALLS = 3
"""That can be made in each of two turns: all episodes can be added up."""


def log_probs(logits: jax.Array) -> jax.Array:
    """[9, 2]: of both calls of every episode, by a policy with logits [4, 3]: of the first call, and after each."""
    of_calls = jax.nn.log_softmax(logits)
    first, second = np.divmod(np.arange(CALLS**2), CALLS)
    return jnp.stack([of_calls[0, first], of_calls[1 + first, second]], axis=1)


def expected_gradients(lag: float, calls: int, correct: str) -> tuple[jax.Array, jax.Array]:
    """Of the loss, by episodes of a policy that is so far away, and of the policy's own return; [4, 3] each."""
    logits, way = np.random.default_rng(7).normal(size=(2, 1 + CALLS, CALLS)).astype(np.float32)
    earned = np.random.default_rng(8).normal(size=(CALLS, CALLS if calls == 2 else 1)).astype(np.float32)
    earned = jnp.asarray(np.broadcast_to(earned, (CALLS, CALLS)).reshape(-1, 1) - 0.3)  # less a baseline
    drawn, old = log_probs(logits - lag * way), log_probs(jnp.asarray(logits))
    wrote = jnp.exp(drawn.sum(axis=1, keepdims=True))
    weights = importance_weights(old, drawn, 1e6)
    if correct == "episodes":
        weights = jnp.broadcast_to(weights.prod(axis=1, keepdims=True), weights.shape)

    def loss(logits: jax.Array) -> jax.Array:
        losses = policy_losses(log_probs(logits), old, jnp.broadcast_to(earned, old.shape), None, None).losses
        return (wrote * weights * losses)[:, :calls].sum()

    def minus_return(logits: jax.Array) -> jax.Array:
        return -(jnp.exp(log_probs(logits).sum(axis=1)) * earned[:, 0]).sum()

    return jax.grad(loss)(jnp.asarray(logits)), jax.grad(minus_return)(jnp.asarray(logits))


def test_weights_of_tokens_make_the_gradient_of_one_call_exact_and_that_of_two_to_first_order() -> None:
    """In expectation, added up over all episodes. A token's own weight leaves out what the episode said before and says
    after it; that error goes away with the lag, as learning ends. The weight of the whole episode is exact."""

    def error(lag: float, calls: int, correct: str = "tokens") -> float:
        got, exact = expected_gradients(lag, calls, correct)
        return float(jnp.abs(got - exact).max() / jnp.abs(exact).max())

    assert error(0.5, calls=1) < 1e-5
    assert error(0.0, calls=2) < 1e-5
    assert error(0.5, calls=2, correct="episodes") < 1e-5
    assert error(0.2, calls=2) > 0.02
    assert error(0.1, calls=2) / error(0.2, calls=2) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("average", "expected"), [("tokens", [1 / 4, 1 / 4]), ("answers", [1 / 6, 1 / 2]), ("length", [1 / 20, 1 / 20])]
)
def test_averages_by_hand(average: Average, expected: list[float]) -> None:
    """Three tokens, one, and an answer that counts nowhere; answers can have ten tokens."""
    weights = token_weights(MASK, average, 10)
    np.testing.assert_allclose(weights, MASK * np.array([[expected[0]], [expected[1]], [9]]), rtol=1e-6)
    assert not np.asarray(token_weights(jnp.zeros((2, 3), bool), average, 10)).any()


def test_what_is_outside_the_mask_changes_nothing() -> None:
    rng, mask = ragged(7)
    x = rng.normal(size=mask.shape).astype(np.float32)
    weights = token_weights(mask, "answers", 7)
    for poison in (np.nan, np.inf, 1e30):
        assert weighted_sum(np.where(mask, x, np.float32(poison)), weights) == weighted_sum(x, weights)
