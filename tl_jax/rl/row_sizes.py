"""Of what sizes the rows of a run's rollouts are: few, since to compile a step for another takes as long as many steps.

A rollout is read in rows of a size that there is a program for, until other rows would have saved more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

SHARES = (8, 4, 2, 1)
"""Of a row may be kept an eighth, a quarter, half or all: for each a step is compiled anew."""
WORTH = 8
"""A step is compiled for another size once those at hand have read as much in vain as so many rollouts read.

Of a 7B on a v5e-8 compiling takes as long as some seven steps (50 s, and at least 7.5 a step), of a tiny model on a
processor four or five. It is one figure for all: wherever a run goes on, it comes to the same rows.
"""


class Bundle(NamedTuple):
    """Episodes, by their numbers, that stand in a row with one beginning."""

    numbers: tuple[int, ...]
    shared: int
    """tokens of the beginning"""
    length: int
    """of all tokens"""
    kept: int
    """tokens that predict what is kept"""


class RowSize(NamedTuple):
    """All of `Rows` but what is in them: for each size of a run's rollouts a step is compiled."""

    length: int
    """T"""
    rows: int
    """of a device in a part"""
    parts: int
    """M"""
    keeps: int
    """of a row one part in so many, one of the `SHARES`; 0 = nobody asks"""
    branches: bool
    """whether any beginning stands before several episodes"""

    def has_room(self, other: RowSize) -> bool:
        """Whether what is arranged in ``other``, of the same rows, can stand in these, too."""
        return other.parts <= self.parts and other.keeps >= self.keeps and self.branches >= other.branches


class Arrangement(NamedTuple):
    """A rollout in rows of some length."""

    cost: int
    """positions that a device reads, and what parts cost"""
    size: RowSize
    updates: list[list[list[Bundle]]]
    """rows of bundles"""


@dataclass
class RowSizes:
    """Those that a run has programs for; a run that goes on knows them from its checkpoint, and reads the same rows."""

    known: list[RowSize] = field(default_factory=list)
    wasted: float = 0.0
    """what they have cost more than the best ones since the last was added, in rollouts"""
    width: int = 0
    """the columns of the widest rollout"""

    def state(self) -> dict[str, Any]:
        """For a checkpoint, as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> RowSizes:
        """From a checkpoint; none from that of a version that kept none."""
        return cls(**{**state, "known": [RowSize(*one) for one in state.get("known", [])]})

    def columns(self, needed: int) -> int:
        """As many as any rollout before had: they cost next to nothing."""
        self.width = max(self.width, needed)
        return self.width

    def chosen(self, best: Arrangement, others: Iterable[tuple[RowSize, Arrangement]]) -> Arrangement:
        """The cheapest of ``others``, each with a known size that its rows and their length are of; or the best one,
        which is then known, too."""
        fitting = [plan._replace(size=size) for size, plan in others if size.has_room(plan.size)]
        plan = min(fitting, key=lambda one: (one.cost, -one.size.keeps), default=best)
        self.wasted += max(plan.cost / best.cost - 1, 0.0)
        if fitting and self.wasted <= WORTH:
            return plan
        self.known.append(best.size)
        self.wasted = 0.0
        return best
