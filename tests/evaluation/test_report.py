"""Summaries by suite, as JSON and as a table."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from tl_jax.evaluation.report import by_suite, print_summary, write_summary
from tl_jax.tooluse.metrics import CaseScore, Scoring
from tl_jax.tooluse.rewards.writable import UnwritableGold

RIGHT = CaseScore(True, True, True, "correct")
VALUE = CaseScore(True, True, False, "wrong_value")
TOOL = CaseScore(False, False, False, "wrong_tool")
NO_GOLD = CaseScore(False, False, False, "no_gold")
SCORED = [("first", RIGHT), ("second", VALUE), ("first", TOOL), ("second", NO_GOLD), ("first", RIGHT), ("first", VALUE)]


def test_by_suite_groups_and_totals() -> None:
    suites = by_suite(SCORED)
    assert list(suites) == ["first", "second", "all"]
    assert (suites["first"].ts, suites["first"].pi, suites["first"].cf) == (75.0, 75.0, 50.0)
    assert (suites["second"].cases, suites["second"].unscored, suites["second"].cf) == (1, 1, 0.0)
    assert suites["all"].cases == 5
    assert suites["all"].errors == {"correct": 2, "wrong_value": 2, "wrong_tool": 1}


def test_summary_file(tmp_path: Path) -> None:
    unwritable = UnwritableGold("paper", "skip", {"long": "longer than 20000 characters"})
    write_summary(tmp_path / "summary.json", by_suite(SCORED), Scoring("all"), unwritable)
    saved = json.loads((tmp_path / "summary.json").read_text())
    assert (saved["cases"], saved["TS"], saved["PI"], saved["CF"]) == (5, 80.0, 80.0, 40.0)
    assert (saved["policy"], saved["strict"], saved["rotbench"]) == ("all", False, False)
    assert (saved["TS_interval"], saved["CF_interval"]) == ([40.0, 100.0], [0.0, 80.0])
    assert saved["suites"]["first"]["cases"] == 4
    assert (saved["unwritable"], saved["unwritable_cases"]) == ("skip", {"long": "longer than 20000 characters"})
    assert sum(saved["errors"].values()) == saved["cases"]


def test_table_shows_every_suite_and_outcome() -> None:
    console = Console(record=True, width=100, file=None, quiet=False)
    with console.capture() as captured:
        print_summary(by_suite(SCORED)["all"], by_suite(SCORED), console)
    lines = captured.get().splitlines()
    (row,) = [line for line in lines if "first" in line]
    assert [part for part in row.replace("│", " ").split() if part[0].isdigit()] == ["4", "75.00", "75.00", "50.00"]
    assert [part for part in row.replace("│", " ").split() if part[0] == "("] == ["(25-100)", "(25-100)", "(0-100)"]
    assert any("1 (+1 without gold)" in line for line in lines)
    assert any("wrong_value" in line and " 2 " in line for line in lines)


def test_a_suite_name_is_not_markup() -> None:
    console = Console(width=100)
    suites = by_suite([("[red]x[/red]", RIGHT), ("y", RIGHT)])
    with console.capture() as captured:
        print_summary(suites["all"], suites, console)
    assert "[red]x[/red]" in captured.get()
