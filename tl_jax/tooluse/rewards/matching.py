"""Which predicted call answers which gold call: `PAIRINGS` are the ways there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tl_jax.registry import Registry

LARGE = 400
"""Cells of a table from which SciPy's solver is used where it is installed. It gives the same total, only sooner."""


def best_assignment(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column) with the greatest total score; each row and column is used at most once.

    Always optimal, with SciPy or without.

    Example:
        >>> best_assignment([[1.0, 0.9], [1.0, 0.0]])
        [(0, 1), (1, 0)]
    """
    if not scores or not scores[0]:
        return []
    if len(scores) > len(scores[0]):
        return sorted((row, column) for column, row in best_assignment(list(zip(*scores, strict=True))))
    favourites = [max(range(len(row)), key=row.__getitem__) for row in scores]
    if len(set(favourites)) == len(favourites):  # every row can have what it likes best
        return list(enumerate(favourites))
    if len(scores) * len(scores[0]) >= LARGE:
        try:
            from tl_jax.tooluse.rewards.matching_scipy import assign
        except ModuleNotFoundError:
            return hungarian(scores)
        return assign(scores)
    return hungarian(scores)


def in_order(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column) by place: the first with the first, the second with the second. No score matters.

    Example:
        >>> in_order([[1.0, 0.9], [1.0, 0.0]])
        [(0, 0), (1, 1)]
    """
    return [(place, place) for place in range(min(len(scores), len(scores[0]) if scores else 0))]


def hungarian(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """The best assignment of rows to columns, by the Hungarian method with potentials, for rows <= columns.

    O(rows² · columns), https://en.wikipedia.org/wiki/Hungarian_algorithm.
    """
    columns = range(len(scores[0]))
    row_potential, column_potential = [0.0] * len(scores), [0.0] * len(columns)
    owner: dict[int, int] = {}  # column -> row
    for start in range(len(scores)):
        slack, came_from = [float("inf")] * len(columns), [-1] * len(columns)
        row, column, visited = start, -1, set[int]()
        while True:  # walk along the cheapest alternating path until it reaches a free column
            for other in columns:
                if other not in visited:
                    cost = -scores[row][other] - row_potential[row] - column_potential[other]
                    if cost < slack[other]:
                        slack[other], came_from[other] = cost, column
            nearest = min((other for other in columns if other not in visited), key=slack.__getitem__)
            step = slack[nearest]
            row_potential[start] += step
            for other in visited:
                row_potential[owner[other]] += step
                column_potential[other] -= step
            for other in columns:
                if other not in visited:
                    slack[other] -= step
            column = nearest
            visited.add(column)
            if column not in owner:
                break
            row = owner[column]
        while column != -1:  # hand the columns of the path on
            previous = came_from[column]
            owner[column] = start if previous == -1 else owner[previous]
            column = previous
    return sorted((row, column) for column, row in owner.items())


class Pairing(NamedTuple):
    """A way of pairing predicted calls (rows) with gold calls (columns)."""

    name: str
    pairs: Callable[[Sequence[Sequence[float]]], list[tuple[int, int]]]
    """Takes what each pair would be worth, by row and column; gives pairs (row, column), each of both once."""
    description: str


PAIRINGS = Registry(
    "pairing",
    (
        Pairing("best", best_assignment, "so that the total is greatest: the order of the calls is free"),
        Pairing("in_order", in_order, "the first call with the first, the second with the second, and so on"),
    ),
    columns={"pairing": lambda pairing: f"`{pairing.name}`", "calls are paired": lambda pairing: pairing.description},
)
