"""What evaluations found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tl_jax.page import text
from tl_jax.report.parts import short_names, table
from tl_jax.report.record import EvaluationRecord, is_number


def evaluations(found: Sequence[EvaluationRecord]) -> str:
    """Tables of the scores, and how often which error was made."""
    if not found:
        return ""
    names = short_names([one.name for one in found])
    scored = [(name, one) for name, one in zip(names, found, strict=True) if "TS" in one.summary]
    others = [(name, one) for name, one in zip(names, found, strict=True) if "TS" not in one.summary]
    parts = ["<h2>Evaluations</h2>"]
    if scored:
        heads = ("answers", "model", "suite", "cases", "TS %", "PI %", "CF %")
        parts.append(table(heads, [row for name, one in scored for row in _score_rows(name, one)]))
        parts.append('<div class="charts">' + "".join(_errors(name, one.summary) for name, one in scored) + "</div>")
    for name, one in others:
        figures = [[key, f"{value:.4g}"] for key, value in one.summary.items() if is_number(value)]
        parts.append(table((name, ""), figures))
    return "\n".join(parts)


def _score_rows(name: str, one: EvaluationRecord) -> Iterator[list[str]]:
    suites = one.summary.get("suites")
    yield [name, one.model, "all", *_score_cells(one.summary)]
    if isinstance(suites, dict) and len(suites) > 1:
        yield from (
            ["", "", str(suite), *_score_cells(part)] for suite, part in suites.items() if isinstance(part, dict)
        )


def _score_cells(summary: Mapping[str, Any]) -> list[str]:
    def share(metric: str) -> str:
        value, interval = summary.get(metric), summary.get(f"{metric}_interval")
        if not is_number(value):
            return "?"
        if isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval)):
            return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"
        return f"{value:.1f}"

    return [str(summary.get("cases")), share("TS"), share("PI"), share("CF")]


def _errors(name: str, summary: Mapping[str, Any]) -> str:
    """How often which outcome was, as bars."""
    errors = summary.get("errors")
    counts = {key: n for key, n in errors.items() if is_number(n)} if isinstance(errors, dict) else {}
    total = sum(counts.values())
    rows = "".join(
        f"<tr><td>{text(str(key).replace('_', ' '))}</td><td>{count}</td>"
        f'<td><span class="bar"><i style="width:{100 * count / total:.1f}%"></i></span></td></tr>'
        for key, count in sorted(counts.items(), key=lambda item: -item[1])
        if total
    )
    return f"<section><h3>{text(name)}</h3><table>{rows}</table></section>" if rows else ""
