"""Our own rows: trajectories ``{id, suite, tools, messages, meta}``; cases have ``gold`` and ``gold_kind`` as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers.rows import OnError, Place, Report, read_rows
from tl_jax.tooluse.schema import Case, Trajectory, decision_points


def read(path: str | Path, on_error: OnError = "raise", report: Report | None = None) -> Iterator[Trajectory]:
    """Trajectories; see `read_rows` for errors."""
    return read_rows(path, trajectories, on_error, report)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row."""
    return [Trajectory.from_json(row)]


def cases(row: Any, place: Place) -> list[Case]:
    """The case in a row; of a row without gold calls, a trajectory, its decision points."""
    if isinstance(row, dict) and not row.keys() & {"gold", "gold_kind"}:
        return list(decision_points(Trajectory.from_json(row)))
    return [Case.from_json(row)]
