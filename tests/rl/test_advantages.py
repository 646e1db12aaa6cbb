"""Advantages against NumPy restatements and examples computed by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.rl import advantages as adv

ARRAY = np.ndarray


def ragged(seed: int, rows: int = 5, width: int = 7) -> tuple[np.random.Generator, ARRAY]:
    """A generator and a mask of responses with different lengths, the longest and the shortest included."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, width + 1, rows)
    lengths[0], lengths[1] = width, 1
    return rng, np.arange(width) < lengths[:, None]


def gae_by_definition(rewards: ARRAY, values: ARRAY, gamma: float, lam: float, last: float = 0.0) -> ARRAY:
    """sum over l of (gamma lam)^l delta_{t+l}, one unpadded episode, in float64."""
    rewards, values = rewards.astype(np.float64), np.append(values.astype(np.float64), last)
    deltas = rewards + gamma * values[1:] - values[:-1]
    n = len(deltas)
    return np.array([sum((gamma * lam) ** l * deltas[t + l] for l in range(n - t)) for t in range(n)])  # noqa: E741


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_equals_the_definition_on_ragged_episodes(gamma: float, lam: float) -> None:
    rng, mask = ragged(0)
    rewards, values = rng.normal(size=(2, *mask.shape)).astype(np.float32)  # garbage outside the mask as well
    last = np.array([0, 0.5, 0, -1, 2], np.float32)
    advantages, returns = adv.gae(rewards, values, mask, gamma, lam, last)
    for row, inside in enumerate(mask):
        expected = gae_by_definition(rewards[row, inside], values[row, inside], gamma, lam, last[row])
        np.testing.assert_allclose(advantages[row, inside], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(returns[row, inside], expected + values[row, inside], rtol=1e-5, atol=1e-6)
    assert not np.asarray(advantages)[~mask].any()
    assert not np.asarray(returns)[~mask].any()


def test_gae_by_hand() -> None:
    # deltas with gamma 1: 0 + .4 - .5 = -.1;  0 + .3 - .4 = -.1;  1 - .3 = .7.  With lambda .5:
    # A2 = .7, A1 = -.1 + .35 = .25, A0 = -.1 + .125 = .025
    rewards, values = jnp.array([[0.0, 0, 1, 9]]), jnp.array([[0.5, 0.4, 0.3, 9]])
    mask = jnp.array([[True, True, True, False]])
    advantages, returns = adv.gae(rewards, values, mask, 1.0, 0.5, jnp.zeros(1))
    np.testing.assert_allclose(advantages, [[0.025, 0.25, 0.7, 0]], rtol=1e-6)
    np.testing.assert_allclose(returns, [[0.525, 0.65, 1.0, 0]], rtol=1e-6)


def test_gae_skips_a_tools_reply_within_an_episode() -> None:
    rng, _ = ragged(3)
    mask = np.array([[True, False, False, True, True, False]])
    rewards, values = rng.normal(size=(2, 1, 6)).astype(np.float32)
    advantages, _ = adv.gae(rewards, values, mask, 0.9, 0.8, jnp.zeros(1))
    expected = gae_by_definition(rewards[mask], values[mask], 0.9, 0.8)
    np.testing.assert_allclose(np.asarray(advantages)[mask], expected, rtol=1e-5, atol=1e-6)


def test_what_is_expected_after_the_last_token() -> None:
    values = jnp.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
    mask = jnp.array([[True, True, False, False], [True, False, True, False], [True] * 4])
    assert adv.after_last(values, mask).tolist() == [3, 8, 12]


def test_returns_to_go_equal_numpy() -> None:
    rng, mask = ragged(4)
    rewards = rng.normal(size=mask.shape).astype(np.float32)
    got = np.asarray(adv.returns_to_go(rewards, mask, 0.9))
    for row, inside in enumerate(mask):
        series = rewards[row, inside]
        expected = [sum(0.9**k * r for k, r in enumerate(series[t:])) for t in range(len(series))]
        np.testing.assert_allclose(got[row, inside], expected, rtol=1e-5, atol=1e-6)


def test_whitening_is_over_the_whole_masked_batch() -> None:
    rng, mask = ragged(1)
    x = (rng.normal(size=mask.shape) * 3 + np.arange(5)[:, None]).astype(np.float32)
    white = np.asarray(adv.whiten(x, mask))
    np.testing.assert_allclose(white[mask], (x[mask] - x[mask].mean()) / x[mask].std(), rtol=1e-4, atol=1e-5)
    assert not white[~mask].any()
    assert abs(white[2][mask[2]].mean()) > 0.1  # a row, or a chunk of rows, keeps its own level
    kept = np.asarray(adv.whiten(x, mask, keep_mean=True))
    np.testing.assert_allclose(kept[mask], white[mask] + x[mask].mean(), rtol=1e-4, atol=1e-5)


def test_explained_variance() -> None:
    rng, mask = ragged(2)
    returns = rng.normal(size=mask.shape).astype(np.float32)
    assert adv.explained_variance(returns, returns, mask) == pytest.approx(1)
    assert adv.explained_variance(np.full_like(returns, 3), returns, mask) == pytest.approx(0, abs=1e-5)
    level = np.ones_like(returns)
    assert adv.explained_variance(level + 0.1 * returns, level, mask) == 0  # was some -100,000
    half = returns / 2
    expected = 1 - np.var(half[mask]) / np.var(returns[mask])
    assert adv.explained_variance(half, returns, mask) == pytest.approx(expected, rel=1e-4)


# Two prompts with three answers each: returns 1, 2, 6 (mean 3, sample variance (4 + 1 + 9) / 2 = 7) and 0, 0, 3
# (mean 1, sample variance (1 + 1 + 4) / 2 = 3).
RETURNS = jnp.array([1.0, 2, 6, 0, 0, 3])


EVERYONE = adv.Group.of(RETURNS, 3)
SOME = adv.Group.of(RETURNS, 3, jnp.array([True, False, True, False, True, False]))
"""Of the first group 1 and 6 (mean 3.5, sample variance 12.5); of the second the middle 0 alone."""


def test_group_normalised_by_hand() -> None:
    expected = np.array([-2, -1, 3, 0, 0, 0]) / np.sqrt(7) + np.array([0, 0, 0, -1, -1, 2]) / np.sqrt(3)
    np.testing.assert_allclose(adv.group_normalised(RETURNS, EVERYONE), expected, rtol=1e-5)
    half = np.sqrt(0.5)  # 2.5 / sqrt(12.5)
    np.testing.assert_allclose(adv.group_normalised(RETURNS, SOME), [-half, 0, half, 0, 0, 0], rtol=1e-5)


def test_group_centred_by_hand() -> None:
    np.testing.assert_allclose(adv.group_centred(RETURNS, EVERYONE), [-2, -1, 3, -1, -1, 2], rtol=1e-6)
    np.testing.assert_allclose(adv.group_centred(RETURNS, SOME), [-2.5, 0, 2.5, 0, 0, 0], rtol=1e-6)


def test_leave_one_out_by_hand() -> None:
    # others of the first group: (2 + 6) / 2 = 4, (1 + 6) / 2 = 3.5, (1 + 2) / 2 = 1.5
    np.testing.assert_allclose(adv.leave_one_out(RETURNS, EVERYONE), [-3, -1.5, 4.5, -1.5, -1.5, 3], rtol=1e-6)
    np.testing.assert_allclose(adv.leave_one_out(RETURNS, SOME), [-5, 0, 5, 0, 0, 0], rtol=1e-6)


def test_mean_scaled_by_hand() -> None:
    np.testing.assert_allclose(adv.mean_scaled(RETURNS, EVERYONE), [-2 / 3, -1 / 3, 1, -1, -1, 2], rtol=1e-6)
    np.testing.assert_allclose(adv.mean_scaled(RETURNS, SOME)[3:], 0)  # nobody earned anything


def test_mean_scaled_is_the_gradient_of_a_likelihood_cut_off() -> None:
    """Of answers right with probability p, N at a time: in expectation over them, the gradient by the logit of p is
    that of -sum_{k=1..N-1} (1 - p)^k / k, the beginning of log p (https://arxiv.org/abs/2602.02710, section 3)."""
    p = 0.3
    for n in (2, 3, 4):
        gradient = 0.0
        for right in np.ndindex(*(2,) * n):
            returns = jnp.array(right, jnp.float32)
            slope = np.array(right) - p  # of log P(answer), by the logit
            chance = np.prod(np.where(right, p, 1 - p))
            gradient += chance * float(np.mean(adv.mean_scaled(returns, adv.Group.of(returns, n)) * slope))
        expected = sum((1 - p) ** (k - 1) for k in range(1, n)) * p * (1 - p)
        assert gradient == pytest.approx(expected, rel=1e-5)


def test_a_group_without_variance_teaches_nothing_and_is_found() -> None:
    returns = jnp.array([0.3, 0.3, 0.3, 0.1, 0.2, 0.3])
    group = adv.Group.of(returns, 3)
    assert group.equal.tolist() == [True] * 3 + [False] * 3
    np.testing.assert_allclose(adv.group_normalised(returns, group)[:3], 0, atol=1e-6)
    apart = adv.Group.of(returns, 3, jnp.array([True] * 3 + [True, False, False]))
    assert apart.equal.tolist() == [True] * 6  # one alone is like itself
    with pytest.raises(ValueError, match="nothing to compare"):
        adv.Group.of(returns, 1)


def test_equal_answers_are_not_told_apart_by_the_noise_of_the_kl() -> None:
    """Three equal answers, told from each other by a KL of 0.01, had advantages of up to 1.15."""
    with_kl = jnp.array([1.0, 1.01, 0.99, 0, 0, 3])
    got = adv.group_normalised(with_kl, adv.Group.of(jnp.array([1.0, 1, 1, 0, 0, 3]), 3))
    np.testing.assert_allclose(got[:3], [0, 0.01, -0.01], atol=1e-6)
    np.testing.assert_allclose(got[3:], adv.group_normalised(RETURNS, EVERYONE)[3:], rtol=1e-5)


def test_what_is_outside_the_mask_changes_nothing() -> None:
    rng, mask = ragged(7)
    arrays = rng.normal(size=(2, *mask.shape)).astype(np.float32)
    results = []
    for rewards, values in (arrays, np.where(mask, arrays, np.float32(1e30))):
        advantages, returns = adv.gae(rewards, values, mask, 1.0, 0.9, jnp.zeros(5))
        to_go, whole = adv.returns_to_go(rewards, mask, 0.9), adv.episode_returns(rewards, mask)
        results.append((advantages, returns, to_go, whole, adv.whiten(rewards, mask)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
