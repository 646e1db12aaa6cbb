"""TS, PI and CF as a table and as JSON, and which errors were made how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.files import write_json
from tl_jax.terminal import SafeConsole
from tl_jax.tooluse.metrics import CaseScore, Scoring, Summary, summarise
from tl_jax.tooluse.rewards.writable import UnwritableGold

ALL = "all"


def by_suite(scored: Iterable[tuple[str, CaseScore]]) -> dict[str, Summary]:
    """A summary for each suite, in order of appearance, and one for everything under ``all``."""
    rows = list(scored)
    suites = dict.fromkeys(suite or "unnamed" for suite, _ in rows)
    groups = {name: summarise(score for suite, score in rows if (suite or "unnamed") == name) for name in suites}
    return {**groups, ALL: summarise(score for _, score in rows)}


def summary_json(summary: Summary) -> dict[str, Any]:
    """``cases`` (with gold calls), ``TS``, ``PI``, ``CF`` in % with intervals, ``unscored`` and ``errors`` (counts)."""
    return {
        "cases": summary.cases,
        "TS": summary.ts,
        "PI": summary.pi,
        "CF": summary.cf,
        "TS_interval": list(summary.ts_interval),
        "PI_interval": list(summary.pi_interval),
        "CF_interval": list(summary.cf_interval),
        "unscored": summary.unscored,
        "errors": dict(summary.errors),
    }


def write_summary(path: Path, suites: Mapping[str, Summary], scoring: Scoring, unwritable: UnwritableGold) -> None:
    """``summary.json``: how it was scored, the figures over everything, and for each suite under ``suites``.

    ``unwritable_cases`` are those whose gold answer the format cannot say, with the reason.
    """
    parts = {name: summary_json(summary) for name, summary in suites.items() if name != ALL}
    content = {
        **asdict(scoring),
        **summary_json(suites[ALL]),
        "suites": parts,
        "unwritable_cases": {**unwritable.reasons},
    }
    write_json(path, content)


def print_summary(
    summary: Summary, suites: Mapping[str, Summary] | None = None, console: Console | None = None
) -> None:
    """The table, a row for each suite where there are several, and the histogram of errors below it.

    In brackets behind each share is its 95 % interval.
    """
    (console or SafeConsole(highlight=True)).print(summary_report(summary, suites))


def summary_report(summary: Summary, suites: Mapping[str, Summary] | None = None) -> RenderableType:
    """What `print_summary` prints."""
    table = Table("suite", *(Column(name, justify="right") for name in ("cases", "TS %", "PI %", "CF %")))
    parts = {name: part for name, part in (suites or {}).items() if name != ALL}
    for name, part in (parts | {ALL: summary} if len(parts) != 1 else parts).items():
        counted = str(part.cases) + (f" (+{part.unscored} without gold)" if part.unscored else "")
        cells = [counted, *share_cells(summary_json(part))]
        table.add_row(Text(name), *cells)
    histogram = Table("outcome", Column("answers", justify="right"), "", box=None)
    for name, count in sorted(summary.errors.items(), key=lambda item: -item[1]):
        histogram.add_row(name, str(count), Bar(summary.cases, 0, count, width=40))
    return Group(table, histogram)


def share_cells(figures: Mapping[str, Any]) -> list[str]:
    """TS, PI and CF of `summary_json`, each with its interval."""
    if not figures["cases"]:
        return ["-", "-", "-"]
    shares = ((figures[name], figures[f"{name}_interval"]) for name in ("TS", "PI", "CF"))
    return [f"{value:.2f} ({low:.0f}-{high:.0f})" for value, (low, high) in shares]
