"""``tl-jax compare``: two models' answers to the same cases. What differs, and is it more than chance?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from tl_jax.evaluation.predictions import AnswerFile
from tl_jax.tooluse.intervals import Interval, exact_p, mean_interval, paired_interval
from tl_jax.tooluse.schema import Case

REWARD = "reward"
"""The figure that is a mean and no share."""

Change: TypeAlias = Literal["better", "worse", "otherwise"]
"""How B's answer to a case differs from A's. Of ``otherwise`` is another fault that is worth the same."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """An answer and what it is worth.

    Attributes:
        prediction: the answer; of several turns, all of them.
        right: metric -> whether the answer is right in it; of all answers the same ones, in the same order.
        error: what is wrong, or ``correct``.
        reward: where there is one.
        explanation: of the reward.
    """

    prediction: str
    right: Mapping[str, bool]
    error: str
    reward: float | None = None
    explanation: str = ""

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts worse before better answers."""
        return (*self.right.values(), self.reward or 0.0)


@dataclass(frozen=True, slots=True)
class CasePair:
    """A case and what became of it in both."""

    case: Case
    a: Assessed
    b: Assessed

    @property
    def change(self) -> Change | None:
        """None where both are worth the same, for the same reason."""
        if self.a.rank != self.b.rank:
            return "better" if self.b.rank > self.a.rank else "worse"
        return "otherwise" if self.a.error != self.b.error else None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both, over the same cases: a share in %, or a mean.

    Attributes:
        interval: 95 %, paired bootstrap over cases, of ``b - a``.
        higher_a: cases in which it is higher in A: right only there.
        higher_b: cases in which it is higher in B.
        p: McNemar's exact test of these two numbers, see `exact_p`.
    """

    a: float
    b: float
    interval: Interval
    higher_a: int
    higher_b: int

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.interval[0] <= 0 <= self.interval[1]

    @property
    def p(self) -> float:
        return exact_p(self.higher_b, self.higher_a)


def difference_of_shares(pairs: Sequence[CasePair], holds: Callable[[Assessed], bool]) -> Difference:
    """In how many % of the answers something holds."""
    outcomes = Counter((holds(pair.a), holds(pair.b)) for pair in pairs)
    both, lost, gained = outcomes[True, True], outcomes[True, False], outcomes[False, True]
    cases = max(len(pairs), 1)
    share_a, share_b = 100 * (both + lost) / cases, 100 * (both + gained) / cases
    return Difference(share_a, share_b, paired_interval(gained, lost, len(pairs)), lost, gained)


def difference_of_means(pairs: Sequence[CasePair], value: Callable[[Assessed], float]) -> Difference:
    """The mean of a number that every answer has."""
    values = [(value(pair.a), value(pair.b)) for pair in pairs]
    changes = [b - a for a, b in values]
    mean_a, mean_b = (math.fsum(pair[side] for pair in values) / max(len(values), 1) for side in (0, 1))
    lost, gained = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    return Difference(mean_a, mean_b, mean_interval(changes), lost, gained)


@dataclass(frozen=True)
class Compared:
    """Two files of answers to the same cases.

    Attributes:
        pairs: the cases that both answer and that have something to compare with.
        unscored: cases that both answer and that have none.
        left_out: cases that only one of them answers, which were to be left out.
        notes: what else has to be known, a line each.
    """

    a: AnswerFile
    b: AnswerFile
    pairs: tuple[CasePair, ...]
    unscored: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()

    @cached_property
    def figures(self) -> dict[str, Difference]:
        """Every metric, and the reward where there is one."""
        shares = _shares(self.pairs)
        if any(pair.a.reward is None for pair in self.pairs):
            return shares
        return {**shares, REWARD: difference_of_means(self.pairs, lambda outcome: outcome.reward or 0.0)}

    @cached_property
    def suites(self) -> dict[str, tuple[int, dict[str, Difference]]]:
        """For each suite its cases, and every metric."""
        groups: dict[str, list[CasePair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.case.suite or "unnamed", []).append(pair)
        return {name: (len(pairs), _shares(pairs)) for name, pairs in groups.items()}

    @cached_property
    def errors(self) -> dict[str, Difference]:
        """How often each outcome was had, the most frequent first."""
        counts = Counter(outcome.error for pair in self.pairs for outcome in (pair.a, pair.b))
        return {name: _error_difference(self.pairs, name) for name, _ in counts.most_common()}

    @cached_property
    def moves(self) -> Counter[tuple[str, str]]:
        """How many cases had one outcome in A and another in B."""
        moves = Counter((pair.a.error, pair.b.error) for pair in self.pairs)
        return Counter({move: count for move, count in moves.items() if move[0] != move[1]})

    @cached_property
    def changed(self) -> dict[Change, list[CasePair]]:
        """The cases whose answers are worth something else, or wrong for another reason."""
        found: dict[Change, list[CasePair]] = {"better": [], "worse": [], "otherwise": []}
        for pair in self.pairs:
            if pair.change:
                found[pair.change].append(pair)
        return found


def _shares(pairs: Sequence[CasePair]) -> dict[str, Difference]:
    return {name: _share(pairs, name) for name in (pairs[0].a.right if pairs else ())}


def _share(pairs: Sequence[CasePair], metric: str) -> Difference:
    return difference_of_shares(pairs, lambda outcome: outcome.right[metric])


def _error_difference(pairs: Sequence[CasePair], name: str) -> Difference:
    return difference_of_shares(pairs, lambda outcome: outcome.error == name)
