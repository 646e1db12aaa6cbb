"""Intervals and tests of shares and differences, against draws, sums over all outcomes and other implementations."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.intervals import bootstrap_interval, exact_p, mean_interval, paired_interval


@pytest.mark.parametrize(("right", "cases"), [(1, 3), (40, 105), (97, 105), (1, 114), (888, 1018)])
def test_interval_is_that_of_resampled_cases(right: int, cases: int) -> None:
    """Against a bootstrap that does draw cases: its percentiles lie within what drawing leaves to chance."""
    np = pytest.importorskip("numpy")
    outcomes = np.arange(cases) < right
    drawn = np.random.default_rng(0).integers(cases, size=(10_000, cases))
    expected = np.percentile(100 * outcomes[drawn].mean(axis=1), [2.5, 97.5], method="inverted_cdf")
    np.testing.assert_allclose(bootstrap_interval(right, cases), expected, atol=0.15 + 100 / cases * (cases > 3))


@given(st.integers(1, 3000), st.data())
def test_interval_is_made_of_binomial_quantiles(cases: int, data: st.DataObject) -> None:
    np, binomial = pytest.importorskip("numpy"), pytest.importorskip("scipy.stats").binom
    right = data.draw(st.integers(0, cases))
    counts = np.array(bootstrap_interval(right, cases)) * cases / 100
    np.testing.assert_allclose(counts, binomial.ppf([0.025, 0.975], cases, right / cases), atol=1e-6)


def test_interval_without_cases_or_doubt() -> None:
    assert bootstrap_interval(0, 0) == (0.0, 100.0)
    assert bootstrap_interval(7, 7) == (100.0, 100.0)
    assert bootstrap_interval(0, 7) == (0.0, 0.0)


def all_resamples(outcomes: list[int]) -> tuple[float, float]:
    """The percentiles of the mean over every resample there is, in %: n to the power of n of them."""
    count = len(outcomes)
    sums = sorted(map(sum, itertools.product(outcomes, repeat=count)))
    low, high = (sums[math.ceil(share * len(sums)) - 1] for share in (Fraction(1, 40), Fraction(39, 40)))
    return 100 * low / count, 100 * high / count


@pytest.mark.parametrize(("gained", "lost", "same"), [(1, 1, 3), (3, 0, 2), (0, 2, 4), (2, 3, 1), (5, 0, 0), (0, 0, 4)])
def test_paired_interval_is_that_of_every_resample(gained: int, lost: int, same: int) -> None:
    outcomes = [1] * gained + [-1] * lost + [0] * same
    assert paired_interval(gained, lost, len(outcomes)) == pytest.approx(all_resamples(outcomes))


@given(st.integers(1, 400), st.data())
def test_paired_interval_where_nothing_is_lost_is_that_of_the_share(cases: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, cases))
    assert paired_interval(gained, 0, cases) == bootstrap_interval(gained, cases)
    low, high = paired_interval(0, gained, cases)
    lost = bootstrap_interval(gained, cases)
    assert (-high, -low) == pytest.approx(lost, abs=200 / cases)  # a quantile from below, not from above


def test_paired_interval_of_many_cases_is_the_normal_one() -> None:
    """The central limit: the variance of a difference of paired shares is (p + q - (p - q)^2) / n."""
    gained, lost, cases = 900, 600, 20_000
    p, q = gained / cases, lost / cases
    spread = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / cases)
    expected = (100 * (p - q - spread), 100 * (p - q + spread))
    assert paired_interval(gained, lost, cases) == pytest.approx(expected, abs=0.02)


def test_paired_interval_without_cases_or_change() -> None:
    assert paired_interval(0, 0, 0) == (-100.0, 100.0)
    assert paired_interval(0, 0, 9) == (0.0, 0.0)
    assert paired_interval(9, 0, 9) == (100.0, 100.0)


def test_a_drawn_interval_is_the_computed_one() -> None:
    """Of differences that are -1, 0 or 1 both ways are possible; draws differ by what is left to chance."""
    values = [1.0] * 40 + [-1.0] * 20 + [0.0] * 140
    drawn = [100 * end for end in mean_interval(values)]
    assert drawn == pytest.approx(paired_interval(40, 20, 200), abs=0.8)


def test_a_mean_without_spread_or_cases() -> None:
    assert mean_interval([]) == (-math.inf, math.inf)
    assert mean_interval([-0.5]) == (-0.5, -0.5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_exact_p_is_the_chance_of_as_uneven_a_change(gained: int, lost: int) -> None:
    """The sum over all numbers of gains that are at least as far from the half, in fractions."""
    changed = gained + lost
    far = abs(2 * gained - changed)
    chance = Fraction(sum(math.comb(changed, n) for n in range(changed + 1) if abs(2 * n - changed) >= far), 2**changed)
    assert exact_p(gained, lost) == pytest.approx(float(chance), rel=1e-12)


def test_exact_p_of_many_changes() -> None:
    """Known values: `scipy.stats.binomtest(k, n).pvalue`; and what a float cannot hold is no error."""
    assert exact_p(12, 26) == pytest.approx(0.03355243967962451)
    assert exact_p(2000, 0) == 0.0
