"""Intervals over seeds and cases, against resamples drawn one by one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tl_jax.ablation import bootstrap
from tl_jax.ablation.bootstrap import Outcomes, estimate
from tl_jax.tooluse.intervals import bootstrap_interval


def drawn_one_by_one(outcomes: Outcomes, resamples: int) -> tuple[float, float]:
    """Rows and columns are drawn as such, and the mean is that of the table they make."""
    generator = np.random.default_rng(9)
    seeds, cases = outcomes.shape
    means = [
        outcomes[np.ix_(generator.integers(0, seeds, seeds), generator.integers(0, cases, cases))].mean()
        for _ in range(resamples)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_is_that_of_resamples_drawn_one_by_one(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    outcomes = generator.normal(size=(seeds, 40)) + generator.normal(size=(seeds, 1)) + generator.normal(size=40)
    found, (low, high) = estimate(outcomes), drawn_one_by_one(outcomes, 4000)
    assert found.mean == pytest.approx(outcomes.mean())
    assert found.seeds == pytest.approx(outcomes.mean(1))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_over_cases_alone_it_is_the_exact_interval_of_a_share() -> None:
    outcomes = np.repeat(np.array([[100.0] * 60 + [0.0] * 140]), 3, 0)
    found, exact = estimate(outcomes), bootstrap_interval(60, 200)
    assert (found.cases_low, found.cases_high) == pytest.approx(exact, abs=0.6)
    assert (found.low, found.high) == (found.cases_low, found.cases_high)  # seeds that agree add nothing


def test_seeds_that_differ_widen_the_interval() -> None:
    outcomes = np.array([[0.0, 1.0] * 50, [1.0, 2.0] * 50, [2.0, 3.0] * 50])
    found = estimate(outcomes)
    assert found.high - found.low > 3 * (found.cases_high - found.cases_low)


def test_what_is_hard_for_both_sides_drops_out_of_a_difference() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(size=(3, 50)) * 10
    gain = estimate(before + 2 - before)
    assert (gain.low, gain.high) == pytest.approx((2, 2))
    assert gain.sure


def test_it_covers_what_it_should() -> None:
    """With ten seeds; of three, a bootstrap knows too little, see docs/ablation.md."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        outcomes = generator.normal(size=(10, 1)) + generator.normal(size=40) + generator.normal(size=(10, 40))
        found = estimate(outcomes, resamples=400)
        covered += found.low <= 0 <= found.high
    assert covered >= 0.87 * 200


def test_how_much_is_held_at_once_changes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it take more memory than a block and a byte for each case and resample."""
    outcomes = np.random.default_rng(2).normal(size=(3, 500))
    drawn = np.random.default_rng(0)
    of_seeds, of_cases = (drawn.multinomial(size, np.full(size, 1 / size), 400) for size in outcomes.shape)
    means = (of_seeds * (of_cases @ outcomes.T / 500)).sum(1) / 3
    monkeypatch.setattr(bootstrap, "BLOCK", 7 * 500)
    tracemalloc.start()
    try:
        found = estimate(outcomes, resamples=400)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), rel=1e-12)
    assert most < 2.5 * 400 * 500
