"""What `tl-jax compare` shows: tables for the terminal, and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.addresses import shown
from tl_jax.evaluation.comparison import REWARD, CasePair, Change, Compared, Difference
from tl_jax.visible import in_one_line

_STYLES: Mapping[Change, str] = {"better": "green", "worse": "red", "otherwise": "yellow"}


def headlines(compared: Compared) -> list[str]:
    """What is compared, and what has to be known of it."""
    sides = [
        f"{letter}: {side.name}" + (f" (model {side.settings['model']})" if "model" in side.settings else "")
        for letter, side in (("A", compared.a), ("B", compared.b))
    ]
    counted = f"{len(compared.pairs)} cases that both answer"
    counted += f"; {compared.unscored} without gold calls are not compared" if compared.unscored else ""
    counted += f"; {compared.left_out} that only one of them answers are left out" if compared.left_out else ""
    return [*sides, counted, *compared.notes]


def to_json(compared: Compared) -> dict[str, Any]:
    """Everything, as docs/metrics.md describes it."""
    return {
        "a": {"predictions": shown(compared.a.path), "settings": dict(compared.a.settings)},
        "b": {"predictions": shown(compared.b.path), "settings": dict(compared.b.settings)},
        "cases": len(compared.pairs),
        "unscored": compared.unscored,
        "left_out": compared.left_out,
        "notes": list(compared.notes),
        "differences": _differences_json(compared.figures),
        "errors": _differences_json(compared.errors),
        "suites": {
            name: {"cases": cases, **_differences_json(figures)} for name, (cases, figures) in compared.suites.items()
        },
        "changed": [
            {"id": pair.case.id, "suite": pair.case.suite, "change": change, "a": _outcome(pair, "a")}
            | {"b": _outcome(pair, "b")}
            for change, pairs in compared.changed.items()
            for pair in pairs
        ],
    }


def _differences_json(differences: Mapping[str, Difference]) -> dict[str, Any]:
    return {
        name: {
            "a": one.a,
            "b": one.b,
            "difference": one.difference,
            "interval": list(one.interval),
            "higher_a": one.higher_a,
            "higher_b": one.higher_b,
            "p": one.p,
        }
        for name, one in differences.items()
    }


def _outcome(pair: CasePair, side: str) -> dict[str, Any]:
    outcome = pair.a if side == "a" else pair.b
    shown = {"prediction": outcome.prediction, **outcome.right, "error": outcome.error}
    return shown if outcome.reward is None else {**shown, REWARD: outcome.reward, "explanation": outcome.explanation}


# ---------------------------------------------------------------- terminal


def report(compared: Compared, shown: int) -> RenderableType:
    """The tables, and the first ``shown`` of the cases that became better, of those that became worse, and others."""
    parts: list[RenderableType] = [*map(Text, headlines(compared)), "", _figure_table(compared)]
    if len(compared.suites) > 1:
        parts += ["", _suite_table(compared)]
    for change, pairs in compared.changed.items():
        if pairs:
            parts += ["", Text(f"{counted(pairs, change)}:", style=_STYLES[change]), *_case_lines(pairs[:shown])]
            more = len(pairs) - shown
            parts += [f"  ... and {more} more; --html and --json have all"] if more > 0 else []
    return Group(*parts)


def _figure_table(compared: Compared) -> Table:
    """The figures, and below them how often each outcome was had. In bold: the interval leaves 0 out."""
    table = Table("", *(Column(name, justify="right", no_wrap=True) for name in HEADS), box=None, padding=(0, 2, 0, 0))
    for differences in (compared.figures, compared.errors):
        for name, one in differences.items():
            table.add_row(Text(name), *cells(name, one), style="bold" if one.sure else "")
        table.add_row()
    return table


def _suite_table(compared: Compared) -> Table:
    metrics = [name for name in compared.figures if name != REWARD]
    columns = (Column(name, justify="right") for name in ("cases", *metrics))
    table = Table("suite, B - A", *columns, box=None, padding=(0, 2, 0, 0))
    for name, (cases, figures) in compared.suites.items():
        shown = [f"{one.difference:+.1f} ({_range(one, 0)})" for one in figures.values()]
        table.add_row(Text(name), str(cases), *shown)
    return table


HEADS = ("A", "B", "B - A", "95 %", "only A/B", "p")


def cells(name: str, one: Difference) -> list[str]:
    """A row of a table under `HEADS`. Of the reward, "only A/B" counts the cases where it is higher there."""
    digits = 3 if name == REWARD else 1
    values = (f"{one.a:.{digits}f}", f"{one.b:.{digits}f}", f"{one.difference:+.{digits}f}")
    return [*values, _range(one, digits), f"{one.higher_a}/{one.higher_b}", _p(one.p)]


def _range(one: Difference, digits: int) -> str:
    low, high = one.interval
    return f"{low:+.{digits}f} to {high:+.{digits}f}"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _case_lines(pairs: Sequence[CasePair]) -> Iterator[Text]:
    for pair in pairs:
        yield Text(f"  {in_one_line(pair.case.id)}  {pair.a.error} -> {pair.b.error}")
        for letter, outcome in (("A", pair.a), ("B", pair.b)):
            yield Text(f"    {letter} {shortened(in_one_line(outcome.prediction), 200)}", style="dim")


def counted(pairs: Sequence[CasePair], change: Change) -> str:
    """How many cases changed in this way."""
    cases = "1 case" if len(pairs) == 1 else f"{len(pairs)} cases"
    what = {"better": "better in B", "worse": "worse in B", "otherwise": "wrong otherwise, worth the same"}
    return f"{cases} {what[change]}"


def shortened(value: str, length: int) -> str:
    """At most ``length`` characters of a text, and whether there are more."""
    return value if len(value) <= length else f"{value[:length]} ..."
