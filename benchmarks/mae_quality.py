"""Precision and recall of the MAE rules on tool results that were labelled by eye.

    python benchmarks/mae_quality.py [--data SHARED_DATA]

``tests/tooluse/mae/labels.csv`` holds the labels, without the texts: those are looked up in the data directory.
``formats.jsonl`` beside it holds results made up in the styles of many tools and languages, written and labelled before
the detectors were changed for them; its "held_out" rows were not looked at while they were. An "error" is a result that
tells of a failed call; an empty or negative answer is "ok".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from tl_jax.tooluse.mae.apply import find_error
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.schema import Call, Message

LABELS = Path(__file__).resolve().parents[1] / "tests" / "tooluse" / "mae" / "labels.csv"
FORMATS = LABELS.with_name("formats.jsonl")
RULES = ("paper", "reference")
SAMPLES = ("first", "second", "rotbench")
FORMAT_SAMPLES = ("formats", "held_out")
ALL = "all"
Key = tuple[str, int]


@dataclass
class Quality:
    """How a rule did on some of the labelled results."""

    results: int = 0
    errors: int = 0
    hits: int = 0
    false_hits: int = 0
    right_category: int = 0

    @property
    def precision(self) -> float:
        found = self.hits + self.false_hits
        return self.hits / found if found else 1.0

    @property
    def recall(self) -> float:
        return self.hits / self.errors if self.errors else 1.0


def measure(data: Path, labels: Path = LABELS) -> dict[tuple[str, str, str], Quality]:
    """(sample, suite or "all", rule) -> quality."""
    results = {key: (suite, text, calls) for key, suite, text, calls in tool_results(data)}
    table: dict[tuple[str, str, str], Quality] = {}
    with labels.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            suite, text, calls = results[row["id"], int(row["message"])]
            _count(table, row, suite, text, calls)
    return table


def measure_formats(path: Path = FORMATS) -> dict[tuple[str, str, str], Quality]:
    """As `measure`, of results that are written down with their labels; the style stands in for the suite."""
    table: dict[tuple[str, str, str], Quality] = {}
    with path.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            _count(table, row, row["style"], row["result"], ())
    return table


def _count(
    table: dict[tuple[str, str, str], Quality], row: dict[str, str], suite: str, text: str, calls: tuple[Call, ...]
) -> None:
    is_error = row["label"] == "error"
    for rule in RULES:
        finding = find_error(text, rule, calls=calls)
        for name in (suite, ALL):
            quality = table.setdefault((row["sample"], name, rule), Quality())
            quality.results += 1
            quality.errors += is_error
            quality.hits += is_error and finding is not None
            quality.false_hits += not is_error and finding is not None
            quality.right_category += finding is not None and finding.category == row["category"]


def tool_results(data: Path) -> Iterator[tuple[Key, str, str, tuple[Call, ...]]]:
    """((id, message), suite, text, the calls that it answers) of every tool result in the data."""
    for trajectory in read_trajectories(data / "train" / "permissive_1018.jsonl"):
        for index, text, calls in _answers(trajectory.messages):
            yield (trajectory.id, index), trajectory.suite, text, calls
    for case in read_cases(data / "raw" / "rotbench" / "Third_Turn_clean.json"):
        for index, text, calls in _answers(case.messages):
            yield (case.id, index), "rotbench", text, calls


def _answers(messages: tuple[Message, ...]) -> Iterator[tuple[int, str, tuple[Call, ...]]]:
    calls: tuple[Call, ...] = ()
    for index, message in enumerate(messages):
        if message.role == "assistant":
            calls = message.tool_calls
        elif message.role == "tool":
            yield index, message.content, calls


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Directory of the real data; without it only made-up results.",
)
def main(data: Path | None) -> None:
    """Print precision P, recall R, results wrongly taken for errors (false), errors missed, and for ``paper`` how many
    of the errors it found are in the right category."""
    what = ("P", "R", "false", "missed")
    headings = [f"{rule} {name}" if name == "P" else name for rule in RULES for name in what]
    table = Table(
        "sample",
        "suite",
        *(Column(name, justify="right") for name in ("results", "errors", *headings)),
        Column("category", justify="right"),
        box=SIMPLE,
        padding=(0, 1),
    )
    measured = measure_formats() | (measure(data) if data else {})
    for sample, suite in dict.fromkeys(key[:2] for key in sorted(measured, key=_order)):
        paper, reference = (measured[sample, suite, rule] for rule in RULES)
        table.add_row(
            sample,
            suite,
            str(paper.results),
            str(paper.errors),
            *_figures(paper),
            *_figures(reference),
            f"{paper.right_category}/{paper.hits}",
            end_section=suite == ALL,
        )
    Console(width=140).print(table)


def _order(key: tuple[str, str, str]) -> tuple[int, bool, str]:
    sample, suite, _ = key
    return (*SAMPLES, *FORMAT_SAMPLES).index(sample), suite == ALL, suite


def _figures(quality: Quality) -> list[str]:
    """Precision and recall, "-" where nothing was found or nothing there to find; then the two kinds of mistake."""
    precision = f"{quality.precision:.3f}" if quality.hits + quality.false_hits else "-"
    recall = f"{quality.recall:.3f}" if quality.errors else "-"
    return [precision, recall, str(quality.false_hits), str(quality.errors - quality.hits)]


if __name__ == "__main__":
    main()
