"""The best pairing, against all pairings there are and against SciPy."""

from __future__ import annotations

import random
import sys
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.rewards.matching import LARGE, PAIRINGS, best_assignment, hungarian, in_order


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(st.integers(-8, 8), min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
def test_assignment_against_brute_force(scores: list[list[int]]) -> None:
    rows, columns = len(scores), len(scores[0])
    pairs = best_assignment(scores)
    assert len(pairs) == len({r for r, _ in pairs}) == len({c for _, c in pairs}) == min(rows, columns)
    if rows <= columns:
        best = max(sum(scores[r][c] for r, c in enumerate(order)) for order in permutations(range(columns), rows))
    else:
        best = max(sum(scores[r][c] for c, r in enumerate(order)) for order in permutations(range(rows), columns))
    assert sum(scores[r][c] for r, c in pairs) == best


def test_scipy_and_plain_agree_on_large_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    for rows, columns in ((20, 20), (22, 31), (31, 22), (5, 120)):
        scores = [[draw.choice([1, -0.25, -0.5, -1.5, -2]) for _ in range(columns)] for _ in range(rows)]
        assert rows * columns >= LARGE
        plain = hungarian(scores if rows <= columns else [list(row) for row in zip(*scores, strict=True)])
        best = sum(scores[a][b] if rows <= columns else scores[b][a] for a, b in plain)
        with_scipy = best_assignment(scores)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "tl_jax.tooluse.rewards.matching_scipy", None)
            without = best_assignment(scores)
        for pairs in (with_scipy, without):
            assert len(pairs) == len({r for r, _ in pairs}) == len({c for _, c in pairs}) == min(rows, columns)
            assert sum(scores[r][c] for r, c in pairs) == pytest.approx(best)


@given(st.integers(0, 6), st.integers(1, 6), st.sampled_from(sorted(PAIRINGS)))
def test_every_pairing_uses_each_call_once(rows: int, columns: int, name: str) -> None:
    pairs = PAIRINGS[name].pairs([[float(row == column) for column in range(columns)] for row in range(rows)])
    assert len(pairs) == len({row for row, _ in pairs}) == len({column for _, column in pairs}) == min(rows, columns)
    assert all(row in range(rows) and column in range(columns) for row, column in pairs)


def test_in_order_is_by_place_whatever_the_scores() -> None:
    assert in_order([[0, 9], [9, 0]]) == [(0, 0), (1, 1)]
    assert in_order([[0, 9]]) == [(0, 0)]
    assert in_order([[0], [9]]) == [(0, 0)]
