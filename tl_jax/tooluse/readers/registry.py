"""Every format by its name, how to recognise it, and reading a file of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tl_jax.tooluse.readers import (
    apibank,
    bfcl,
    canonical,
    files,
    glaive,
    openai,
    rotbench,
    sharegpt,
    tau_bench,
    tl,
    toolalpaca,
    toolbench,
    tooleyes,
    tooltalk,
    xlam,
)
from tl_jax.tooluse.readers.documents import one_object
from tl_jax.tooluse.readers.rows import OnError, Report, first_row
from tl_jax.tooluse.schema import Case, DataError, Trajectory, decision_points

Reader: TypeAlias = Callable[[str | Path, OnError, Report | None], Iterator[Any]]

TRAJECTORIES: Mapping[str, Reader] = {
    "canonical": canonical.read,
    "openai": openai.read,
    "tl": tl.read,
    "apibank": apibank.read,
    "glaive": glaive.read,
    "sharegpt": sharegpt.read,
    "tau-bench": tau_bench.read,
    "toolbench": toolbench.read,
    "tooltalk": tooltalk.read,
    "xlam": xlam.read,
}
"""Formats of recorded episodes."""

CASES: Mapping[str, Reader] = {
    "bfcl": bfcl.read,
    "rotbench": rotbench.read,
    "toolalpaca": toolalpaca.read,
    "tooleyes": tooleyes.read,
    "xlam": xlam.read_cases,
}
"""Formats of questions with their gold answers."""

FORMATS = tuple(dict.fromkeys((*TRAJECTORIES, *CASES)))
"""Every name; "auto" looks at a file's first row."""

_NATIVE = ("canonical", "openai", "tl")
_FIELDS = (
    ("toolbench", ("answer_generation",)),
    ("toolalpaca", ("Function_Description", "Instructions")),
    ("tau-bench", ("traj",)),
    ("tooltalk", ("conversation", "apis_used")),
    ("apibank", ("requirement", "apis")),
    ("bfcl", ("question", "function")),
    ("xlam", ("query", "tools", "answers")),
    ("glaive", ("system", "chat")),
)
"""Fields that only one format has."""


def read_trajectories(
    path: str | Path, format: str = "auto", on_error: OnError = "raise", report: Report | None = None
) -> Iterator[Trajectory]:
    """The trajectories of a file, one after another; see `read_rows` for errors.

    Raises:
        ValueError: unknown format.
        DataError: a format of evaluation cases.
    """
    kind = _known(path, format)
    if kind not in TRAJECTORIES:
        raise DataError(
            f"{kind} files hold evaluation cases; there are no episodes in them to learn from", path=str(path)
        )
    return TRAJECTORIES[kind](path, on_error, report)


def read_cases(
    path: str | Path, format: str = "auto", on_error: OnError = "raise", report: Report | None = None
) -> Iterator[Case]:
    """The cases of a file. Trajectories give their decision points: every call is a case.

    Raises:
        ValueError: unknown format.
    """
    kind = _known(path, format)
    if kind in CASES:
        return CASES[kind](path, on_error, report)
    if kind in _NATIVE:
        return files.read_cases(path, kind, on_error, report)
    found = TRAJECTORIES[kind](path, on_error, report)
    return (case for trajectory in found for case in decision_points(trajectory))


def holds_cases(path: str | Path, format: str = "auto") -> bool:
    """Whether a file holds cases, and not trajectories: by its format or, in our own, by its first row.

    Raises:
        ValueError: unknown format.
        DataError: a file that cannot be read, or of no known format.
    """
    kind = _known(path, format)
    if kind == "canonical":
        return bool({"gold", "gold_kind"} & first_row(path)[1].keys())
    return kind not in TRAJECTORIES


def detect_format(path: str | Path) -> str:
    """The format of a file, by its first row.

    Raises:
        DataError: an empty file, or a row of no known format.
    """
    document = one_object(path)
    row = document if document is not None else first_row(path)[1]
    for name, fields in _FIELDS:
        if "messages" not in row and all(field in row for field in fields):
            return name
    if row.get("role") in ("User", "AI", "API"):
        return "apibank"
    if _speaks(row):
        return _conversation(row)
    return files.detect_format(path)


def _speaks(row: Mapping[str, Any]) -> bool:
    """Whether it is a conversation of ``{from, value}``."""
    turns = row.get("conversations")
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, dict) and "from" in turn for turn in turns)


def _conversation(row: Mapping[str, Any]) -> str:
    prompt = str(row["conversations"][0].get("value"))
    if toolbench.APIS in prompt and "Action Input" in prompt:
        return "toolbench"
    if rotbench.TOOLS in prompt and "scenario" in row:
        return "tooleyes" if "path" in row else "rotbench"
    return "sharegpt"


def _known(path: str | Path, format: str) -> str:
    if format == "auto":
        return detect_format(path)
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; known: auto, {', '.join(FORMATS)}")
    return format
