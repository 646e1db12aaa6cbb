"""``tl-jax robustness``: one model over RoTBench's noise levels, in which names of tools and parameters are garbled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from tl_jax.addresses import full_name, shown
from tl_jax.data.prompts import load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.report import share_cells, summary_json
from tl_jax.files import reason, write_json
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring
from tl_jax.tooluse.readers.rotbench import LEVELS

if TYPE_CHECKING:  # a page of runs that are there needs no JAX
    from tl_jax.evaluation.answering import Answering

RESULTS = "robustness.json"
METRICS = ("TS", "PI", "CF")


@dataclass(frozen=True, slots=True)
class Robustness:
    """What became of a model's answers at each level.

    Attributes:
        name: of the directory.
        levels: level -> figures as `summary_json` has them, in the order of `LEVELS`.
    """

    name: str
    levels: Mapping[str, Mapping[str, Any]]


def levels_of(files: Sequence[Path], format: str = "auto") -> dict[str, Path]:
    """The noise level of each file, from the cases in it; in the order of `LEVELS`.

    Raises:
        UserError: a file that is not of one level of RoTBench, two of the same level, or of first and third turns.
    """
    found: dict[str, Path] = {}
    turns: dict[str, Path] = {}
    for file in files:
        splits = {case.split for case in load_cases(file, format)}
        turn, _, level = next(iter(splits)).rpartition("_")
        if len(splits) > 1 or level not in LEVELS:
            raise UserError(f"{file}: its cases are not those of one noise level of RoTBench ({', '.join(LEVELS)})")
        if level in found:
            raise UserError(f"{file}: is of the noise level {level!r}, and so is {found[level]}")
        found[level] = turns[turn] = file
    if len(turns) > 1:
        raise UserError(f"{', '.join(map(str, turns.values()))}: are of different turns; evaluate these one by one")
    return {level: found[level] for level in LEVELS if level in found}


def evaluate_levels(
    model: Path,
    files: Mapping[str, Path],
    out: Path,
    answering: Answering,
    scoring: Scoring = PAPER_SCORING,
    *,
    format: str = "auto",
    limit: int | None = None,
    overwrite: bool = False,
) -> Robustness:
    """Answers each level's cases, as `evaluate` does, into a directory of its name; writes `RESULTS` beside them.

    Args:
        model: a Hugging Face, checkpoint or run directory.
        files: from `levels_of`.
        out: directory to write.
        answering: how the model answers.
        scoring: what counts as right.
        format: of ``files``.
        limit: of each level only so many cases, the first ones.
        overwrite: forget the answers that ``out`` holds.

    Raises:
        UserError: as `evaluate`.
    """
    from tl_jax.evaluation.runner import evaluate

    found = {}
    for level, file in files.items():
        summary = evaluate(
            model, file, out / level, answering, scoring, format=format, limit=limit, overwrite=overwrite
        )
        found[level] = summary_json(summary)
    write_json(out / RESULTS, {"model": full_name(model), "levels": found})
    return Robustness(shown(out), found)


def read_levels(directory: Path) -> Robustness:
    """What an earlier `evaluate_levels` wrote.

    Raises:
        UserError: it is not there, or broken.
    """
    file = directory / RESULTS
    try:
        levels = strict_json.loads(file.read_text(encoding="utf-8"))["levels"]
        for level, figures in levels.items():
            if level not in LEVELS or not _are_figures(figures):
                raise ValueError(level)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {reason(error)}; tl-jax robustness --out writes it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: is broken; make it anew with tl-jax robustness --out {directory}") from None
    return Robustness(shown(directory), {level: levels[level] for level in LEVELS if level in levels})


def _are_figures(figures: Any) -> bool:
    """Whether this is what the table and the page show of `summary_json`."""
    ends = [figures[f"{name}_interval"] for name in METRICS]
    shares = [figures[name] for name in METRICS] + [value for low, high in ends for value in (low, high)]
    are_shares = all(type(value) in (int, float) and 0 <= value <= 100 for value in shares)
    return are_shares and type(figures["cases"]) is int and figures["cases"] >= 0


def report(found: Robustness) -> RenderableType:
    """A row for each level."""
    table = Table("noise", *(Column(name, justify="right") for name in ("cases", "TS %", "PI %", "CF %")))
    for level, figures in found.levels.items():
        table.add_row(Text(level), str(figures["cases"]), *share_cells(figures))
    return table
