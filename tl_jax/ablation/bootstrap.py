"""Intervals over seeds and over cases at once.

Every model answers the same cases, so outcomes are a table of seeds by cases. A resample draws seeds and,
independently, cases, both with replacement, and takes the mean over the drawn rows and columns (the crossed, or
pigeonhole, bootstrap:
Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1). Differences are taken within a seed and a case
first, so what makes a seed or a case hard for both sides drops out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tl_jax.tooluse.intervals import CONFIDENCE

Outcomes = npt.NDArray[np.float64]
"""``[seeds, cases]``: what each answer is worth, or by how much it is worth more than another."""
RESAMPLES = 4000
BLOCK = 1 << 22
"""Numbers that are drawn and multiplied at once: of many cases only part of the resamples."""
_Counts = npt.NDArray[np.uint8]
"""``[resamples, seeds or cases]``: how often each is drawn. 256 times is never: once is the mean."""


@dataclass(frozen=True)
class MeanEstimate:
    """A mean with its 95 % intervals.

    Attributes:
        low: over seeds and cases.
        cases_low: over cases alone: these models as they are, on other cases.
        seeds: the mean of each seed.
    """

    mean: float
    low: float
    high: float
    cases_low: float
    cases_high: float
    seeds: tuple[float, ...]

    @property
    def sure(self) -> bool:
        """Whether the interval over seeds and cases leaves 0 out."""
        return not self.low <= 0 <= self.high


def estimate(outcomes: Outcomes, resamples: int = RESAMPLES, seed: int = 0) -> MeanEstimate:
    """The mean of all outcomes, and how sure it is.

    Of a single seed nothing is known about others: both intervals are then those over cases.

    Args:
        outcomes: at least one seed and one case.
        resamples: how often is drawn.
        seed: of the draws; the same ones for all tables of one size.

    Example:
        >>> estimate(np.ones((3, 10))).low
        1.0
    """
    seeds, cases = outcomes.shape
    of_seeds, of_cases = _draws(seeds, cases, resamples, seed)
    by_seed = np.concatenate([of_cases[rows].astype(np.float64) @ outcomes.T for rows in _blocks(resamples, cases)])
    by_seed /= cases  # [R, S]
    both = (of_seeds * by_seed).sum(1) / seeds
    low, high = _ends(both)
    cases_low, cases_high = _ends(by_seed.mean(1))
    return MeanEstimate(float(outcomes.mean()), low, high, cases_low, cases_high, tuple(outcomes.mean(1).tolist()))


@lru_cache(maxsize=4)
def _draws(seeds: int, cases: int, resamples: int, seed: int) -> tuple[_Counts, _Counts]:
    """Of seeds, and of cases."""
    generator = np.random.default_rng(seed)
    return _drawn(generator, seeds, resamples), _drawn(generator, cases, resamples)


def _drawn(generator: np.random.Generator, size: int, resamples: int) -> _Counts:
    counts = np.empty((resamples, size), np.uint8)
    for rows in _blocks(resamples, size):
        counts[rows] = generator.multinomial(size, np.full(size, 1 / size), len(counts[rows]))
    return counts


def _blocks(resamples: int, size: int) -> Iterator[slice]:
    """Rows of ``size`` numbers, by blocks."""
    rows = max(1, BLOCK // size)
    return (slice(first, first + rows) for first in range(0, resamples, rows))


def _ends(means: npt.NDArray[np.float64]) -> tuple[float, float]:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
