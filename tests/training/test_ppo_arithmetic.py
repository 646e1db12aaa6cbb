"""The arithmetic of PPO against NumPy restatements, hand-computed episodes and the defects seen elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.training import rl

ARRAY = np.ndarray


def ragged(seed: int, rows: int = 5, width: int = 7) -> tuple[np.random.Generator, ARRAY]:
    """A generator and a mask of responses with different lengths, the longest and the shortest included."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, width + 1, rows)
    lengths[0], lengths[1] = width, 1
    return rng, np.arange(width) < lengths[:, None]


def gae_by_definition(rewards: ARRAY, values: ARRAY, gamma: float, lam: float) -> ARRAY:
    """sum over l of (gamma lam)^l delta_{t+l}, one unpadded episode, in float64."""
    rewards, values = rewards.astype(np.float64), np.append(values.astype(np.float64), 0.0)
    deltas = rewards + gamma * values[1:] - values[:-1]
    n = len(deltas)
    return np.array([sum((gamma * lam) ** l * deltas[t + l] for l in range(n - t)) for t in range(n)])  # noqa: E741


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_equals_the_definition_on_ragged_episodes(gamma: float, lam: float) -> None:
    rng, mask = ragged(0)
    rewards, values = rng.normal(size=(2, *mask.shape)).astype(np.float32)  # garbage outside the mask as well
    advantages, returns = rl.gae(rewards, values, mask, gamma, lam)
    for row, inside in enumerate(mask):
        expected = gae_by_definition(rewards[row, inside], values[row, inside], gamma, lam)
        np.testing.assert_allclose(advantages[row, inside], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(returns[row, inside], expected + values[row, inside], rtol=1e-5, atol=1e-6)
    assert not np.asarray(advantages)[~mask].any()
    assert not np.asarray(returns)[~mask].any()


def test_gae_by_hand() -> None:
    # deltas with gamma 1: 0 + .4 - .5 = -.1;  0 + .3 - .4 = -.1;  1 - .3 = .7.  With lambda .5:
    # A2 = .7, A1 = -.1 + .35 = .25, A0 = -.1 + .125 = .025
    advantages, returns = rl.gae(
        jnp.array([[0.0, 0, 1, 9]]), jnp.array([[0.5, 0.4, 0.3, 9]]), jnp.array([[True, True, True, False]]), 1.0, 0.5
    )
    np.testing.assert_allclose(advantages, [[0.025, 0.25, 0.7, 0]], rtol=1e-6)
    np.testing.assert_allclose(returns, [[0.525, 0.65, 1.0, 0]], rtol=1e-6)


def test_gae_skips_gaps_within_an_episode() -> None:
    rng, _ = ragged(3)
    mask = np.array([[True, False, False, True, True, False]])
    rewards, values = rng.normal(size=(2, 1, 6)).astype(np.float32)
    advantages, _ = rl.gae(rewards, values, mask, 0.9, 0.8)
    expected = gae_by_definition(rewards[mask], values[mask], 0.9, 0.8)
    np.testing.assert_allclose(np.asarray(advantages)[mask], expected, rtol=1e-5, atol=1e-6)


def test_score_lands_on_the_last_response_token_and_kl_on_every_one() -> None:
    mask = jnp.array([[True, True, True], [True, False, False]])
    kl = jnp.array([[0.1, -0.2, 0.3], [0.5, 7.0, 7.0]])
    rewards = rl.shaped_rewards(jnp.array([1.0, -2.0]), kl, mask, kl_coef=0.4)
    np.testing.assert_allclose(rewards, [[-0.04, 0.08, 1 - 0.12], [-2 - 0.2, 0, 0]], rtol=1e-6)


def test_fractional_rewards_are_not_truncated_to_int() -> None:
    rewards = rl.shaped_rewards(jnp.array([-0.25, 0.3]), jnp.zeros((2, 2)), jnp.ones((2, 2), bool), 0.0)
    assert rewards.dtype == jnp.float32
    np.testing.assert_allclose(rewards[:, 1], [-0.25, 0.3], rtol=1e-6)


def test_k1_in_the_reward_has_the_right_sign() -> None:
    """A token the policy likes more than the reference does costs reward; k3 would make both directions cost."""
    kl = rl.kl_k1(jnp.log(jnp.array([[0.9, 0.1]])), jnp.log(jnp.array([[0.5, 0.5]])))
    rewards = rl.shaped_rewards(jnp.zeros(1), kl, jnp.ones((1, 2), bool), 1.0)
    assert rewards[0, 0] < 0 < rewards[0, 1]
    np.testing.assert_allclose(rewards[0], -np.log([0.9 / 0.5, 0.1 / 0.5]), rtol=1e-6)


def test_k1_is_an_unbiased_estimate_of_the_kl() -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    k1 = rl.kl_k1(jnp.log(p), jnp.log(q))
    np.testing.assert_allclose(np.sum(p * np.asarray(k1)), np.sum(p * np.log(p / q)), rtol=1e-6)


def test_whitening_is_global_over_the_masked_batch() -> None:
    rng, mask = ragged(1)
    x = (rng.normal(size=mask.shape) * 3 + np.arange(5)[:, None]).astype(np.float32)
    white = np.asarray(rl.whiten(x, mask))
    np.testing.assert_allclose(white[mask], (x[mask] - x[mask].mean()) / x[mask].std(), rtol=1e-4, atol=1e-5)
    assert not white[~mask].any()
    assert abs(white[2][mask[2]].mean()) > 0.1  # a row, or a chunk of rows, keeps its own level


def test_explained_variance() -> None:
    rng, mask = ragged(2)
    returns = rng.normal(size=mask.shape).astype(np.float32)
    assert rl.explained_variance(returns, returns, mask) == pytest.approx(1)
    assert rl.explained_variance(np.full_like(returns, 3), returns, mask) == pytest.approx(0, abs=1e-5)
    half = returns / 2
    expected = 1 - np.var(half[mask]) / np.var(returns[mask])
    assert rl.explained_variance(half, returns, mask) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_policy_loss_equals_numpy(clip: float | None) -> None:
    rng, mask = ragged(4)
    new, old, advantages = rng.normal(size=(3, *mask.shape)).astype(np.float32)
    loss = rl.policy_loss(new, old, advantages, mask, clip)
    ratio = np.exp(new - old)[mask]
    limited = ratio if clip is None else np.clip(ratio, 1 - clip, 1 + clip)
    per_token = np.maximum(-advantages[mask] * ratio, -advantages[mask] * limited)
    np.testing.assert_allclose(loss.total, per_token.sum(), rtol=1e-5)
    assert loss.denominator == mask.sum()
    bound = (per_token > -advantages[mask] * ratio).sum()
    assert loss.metrics["clip_fraction"] == bound
    assert (bound > 0) == (clip is not None)


def test_clip_none_is_off_and_a_small_clip_is_kept() -> None:
    """``None`` never means some default, and a tiny clip stops the gradient of every improving token."""
    new, old = jnp.full((1, 3), 0.1), jnp.zeros((1, 3))
    advantages, mask = jnp.ones((1, 3)), jnp.ones((1, 3), bool)

    def slope(clip: float | None) -> jax.Array:
        return jax.grad(lambda x: rl.policy_loss(x, old, advantages, mask, clip).total)(new)

    np.testing.assert_allclose(slope(None), -np.exp(np.full((1, 3), 0.1)), rtol=1e-6)
    assert not np.asarray(slope(1e-6)).any()
    np.testing.assert_allclose(rl.policy_loss(new, old, advantages, mask, 1e-6).total, -3, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_gradient_is_the_policy_gradient_when_the_ratio_is_one(clip: float | None) -> None:
    rng, mask = ragged(5)
    logprobs, advantages = rng.normal(size=(2, *mask.shape)).astype(np.float32)

    def mean_loss(x: jax.Array) -> jax.Array:
        loss = rl.policy_loss(x, logprobs, advantages, mask, clip)
        return loss.total / loss.denominator

    np.testing.assert_allclose(jax.grad(mean_loss)(logprobs), -advantages * mask / mask.sum(), rtol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.2])
def test_value_loss_equals_numpy(clip: float | None) -> None:
    rng, mask = ragged(6)
    new, old, returns = rng.normal(size=(3, *mask.shape)).astype(np.float32)
    loss = rl.value_loss(new, old, returns, mask, clip)
    error = (new - returns) ** 2
    if clip is not None:
        error = np.maximum(error, (np.clip(new, old - clip, old + clip) - returns) ** 2)
    np.testing.assert_allclose(loss.total, 0.5 * error[mask].sum(), rtol=1e-5)
    assert loss.denominator == mask.sum()


def test_what_is_outside_the_mask_changes_nothing() -> None:
    rng, mask = ragged(7)
    arrays = rng.normal(size=(4, *mask.shape)).astype(np.float32)
    poisoned = np.where(mask, arrays, np.float32(1e30))
    for x in (arrays, poisoned):
        new, old, third, fourth = x
        advantages, returns = rl.gae(third, fourth, mask, 1.0, 0.9)
        results = (
            rl.policy_loss(new, old, advantages, mask, 0.2).total, rl.value_loss(new, old, returns, mask, 0.2).total,
            rl.shaped_rewards(jnp.ones(5), rl.kl_k1(new, old), mask, 0.1), rl.whiten(third, mask), advantages,
        )  # fmt: skip
        if x is arrays:
            expected = results
    for a, b in zip(expected, results, strict=True):
        np.testing.assert_array_equal(a, b)
