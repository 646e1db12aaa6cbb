"""Which categories there are, and what they are worth."""

from __future__ import annotations

import doctest

import pytest

from tl_jax.errors import UserError
from tl_jax.tooluse.bfcl import categories
from tl_jax.tooluse.bfcl.categories import CATEGORIES, PARTS, Share, category_of, chosen, overall

NON_LIVE = {
    "simple_python": Share(300, 400),
    "simple_java": Share(50, 100),
    "simple_javascript": Share(20, 50),
    "multiple": Share(180, 200),
    "parallel": Share(100, 200),
    "parallel_multiple": Share(0, 200),
}
LIVE = {
    "live_simple": Share(129, 258),
    "live_multiple": Share(1053, 1053),
    "live_parallel": Share(0, 16),
    "live_parallel_multiple": Share(6, 24),
}


def test_the_examples() -> None:
    assert doctest.testmod(categories).failed == 0


def test_non_live_is_a_mean_of_categories_and_live_one_of_cases() -> None:
    found = overall(NON_LIVE | LIVE)
    simple = (75 + 50 + 40) / 3
    assert found.parts["simple"] == pytest.approx(simple)
    assert found.parts["non_live"] == pytest.approx((simple + 90 + 50 + 0) / 4)
    assert found.parts["live"] == pytest.approx(100 * (129 + 1053 + 0 + 6) / (258 + 1053 + 16 + 24))
    assert found.points == 20
    assert found.score == pytest.approx((found.parts["non_live"] + found.parts["live"]) / 2)
    assert found.leaderboard == pytest.approx((found.parts["non_live"] + found.parts["live"]) / 10)
    assert found.absent == {"no_call": 10, "multi_turn": 30, "agentic": 40}


def test_all_that_is_run_here_is_worth_60_points() -> None:
    found = overall({name: Share(1, 1) for name in CATEGORIES})
    assert (found.points, found.score, found.leaderboard) == (60, 100.0, 60.0)
    assert found.absent == {"agentic": 40}
    assert sum(part.points for part in PARTS.values()) == 100


def test_a_part_of_which_a_category_is_lacking_is_absent() -> None:
    found = overall({name: share for name, share in NON_LIVE.items() if name != "parallel"})
    assert dict(found.parts) == {"simple": pytest.approx(55.0)}
    assert (found.points, found.score, found.leaderboard) == (0, None, 0.0)


def test_categories_by_name_group_or_all() -> None:
    assert [category.name for category in chosen(["multiple", "simple_java"])] == ["simple_java", "multiple"]
    assert {category.group for category in chosen(["live"])} == {"live"}
    assert len(chosen(["all"])) == len(CATEGORIES) == 17
    with pytest.raises(UserError, match=r"unknown category 'simple_pyton'; did you mean 'simple_python'\?"):
        chosen(["simple_pyton"])
    with pytest.raises(UserError, match="no category is chosen; known: all, non_live, live, multi_turn, simple_python"):
        chosen([])


def test_ids_tell_the_category() -> None:
    assert category_of("multi_turn_miss_func_12") is CATEGORIES["multi_turn_miss_func"]
    assert category_of("live_irrelevance_0-0-0") is CATEGORIES["live_irrelevance"]
    assert category_of("javascript_3") is CATEGORIES["simple_javascript"]
    assert category_of("q1") is None


def test_they_are_those_of_the_package() -> None:
    mapping = pytest.importorskip("bfcl_eval.constants.category_mapping", reason="bfcl-eval is not installed")
    groups = {"non_live": mapping.NON_LIVE_CATEGORY, "live": mapping.LIVE_CATEGORY}
    groups["multi_turn"] = mapping.MULTI_TURN_CATEGORY
    for group, names in groups.items():
        assert [category.name for category in chosen([group])] == names
