"""How sure a share, a mean or a difference is that was measured on some cases: intervals and exact tests.

Shares and differences of shares take few values, so the percentiles of their bootstrap are computed instead of drawn:
the limit of infinitely many resamples, without a seed. Only means of other numbers are drawn.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 4000
"""How often the cases are drawn for the interval of a mean; its ends then lie at percentiles that are right to 0.3."""


def bootstrap_interval(right: int, cases: int, confidence: float = CONFIDENCE) -> Interval:
    """The percentile bootstrap interval, over cases, of the share ``right / cases``; in %.

    A resample of ``cases`` outcomes of which ``right`` are right has Binomial(cases, right / cases) right ones, so the
    percentiles over all resamples are quantiles of that distribution (Efron and Tibshirani 1993, section 13.3).
    Where all or none are right the interval has no width, and without cases nothing is known: 0 to 100.

    Example:
        >>> bootstrap_interval(50, 100)
        (40.0, 60.0)
        >>> bootstrap_interval(0, 0)
        (0.0, 100.0)
    """
    if cases == 0:
        return 0.0, 100.0
    low, high = _quantiles(dict(_binomial(cases, right)), confidence)
    return 100 * low / cases, 100 * high / cases


def paired_interval(gained: int, lost: int, cases: int, confidence: float = CONFIDENCE) -> Interval:
    """The paired percentile bootstrap interval, over cases, of a difference of two shares of the same cases; in points.

    A resample draws cases with both of their outcomes. Of these ``gained / cases`` add one to the difference and ``lost
    / cases`` take one away, all independent: the number that do either is binomial, and so is, given that number, how
    many of them add. Without such cases the interval has no width; without cases nothing is known.

    Args:
        gained: cases that are right only in the second of the two.
        lost: cases that are right only in the first.
        cases: all of them.

    Example:
        >>> paired_interval(30, 10, 100)
        (8.0, 32.0)
    """
    if cases == 0:
        return -100.0, 100.0
    differences: defaultdict[int, float] = defaultdict(float)
    for count, chance in _binomial(cases, gained + lost):
        for more, share in _binomial(count, gained, gained + lost):
            differences[2 * more - count] += chance * share
    low, high = _quantiles(differences, confidence)
    return 100 * low / cases, 100 * high / cases


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
    """The percentile bootstrap interval of the mean of ``values``, one a case, by `RESAMPLES` draws of the cases.

    Example:
        >>> mean_interval([0.5] * 20)
        (0.5, 0.5)
    """
    if not values:
        return -math.inf, math.inf
    generator, count = random.Random(seed), len(values)
    means = sorted(math.fsum(generator.choices(values, k=count)) / count for _ in range(RESAMPLES))
    tail = round((1 - confidence) / 2 * RESAMPLES)
    return means[tail], means[-1 - tail]


def exact_p(gained: int, lost: int) -> float:
    """McNemar's exact test, two-sided: how likely so uneven a change is if gains and losses are equally likely.

    Cases that did not change say nothing; of those that did, half would be gains (McNemar 1947; with a binomial instead
    of its approximation). Of numbers that rose or fell instead of shares it is the sign test.

    Example:
        >>> exact_p(5, 0)
        0.0625
        >>> exact_p(3, 3)
        1.0
    """
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


def _binomial(draws: int, right: int, of: int | None = None) -> Iterator[tuple[int, float]]:
    """Counts and their chances, in ``draws`` draws of which each has the chance ``right / of``; by default ``of`` as
    many as are drawn. Counts that together have less than 1e-12 are left out."""
    of = draws if of is None else of
    if right in (0, of) or draws == 0:
        yield (0 if right == 0 else draws), 1.0
        return
    mean, log_right, log_wrong = draws * right / of, math.log(right / of), math.log1p(-right / of)
    reach = 8 * math.sqrt(mean * (1 - right / of)) + 30
    for count in range(max(0, math.floor(mean - reach)), min(draws, math.ceil(mean + reach)) + 1):
        ways = math.lgamma(draws + 1) - math.lgamma(count + 1) - math.lgamma(draws - count + 1)
        yield count, math.exp(ways + count * log_right + (draws - count) * log_wrong)


def _quantiles(chances: Mapping[int, float], confidence: float) -> tuple[int, int]:
    """The smallest values up to which there is at least the lower, and at least the upper, share of the chances."""
    tail = (1 - confidence) / 2
    cumulative, low, value = 0.0, None, 0
    for value in sorted(chances):
        cumulative += chances[value]
        if low is None and cumulative >= tail:
            low = value
        if cumulative >= 1 - tail:
            break
    return (value if low is None else low), value
