"""The same pairing by SciPy, for answers of very many calls. The only file of this package that needs SciPy."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.optimize import linear_sum_assignment


def assign(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column) with the greatest total score."""
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
