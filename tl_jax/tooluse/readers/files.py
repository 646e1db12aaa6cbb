"""Reading a file of any known format, and finding out which it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tl_jax.tooluse.readers import canonical, openai, tl
from tl_jax.tooluse.readers.rows import Convert, OnError, Place, Report, first_row, read_rows
from tl_jax.tooluse.schema import Case, DataError, Trajectory, decision_points

_TRAJECTORIES: Mapping[str, Convert[Trajectory]] = {
    "canonical": canonical.trajectories,
    "tl": tl.trajectories,
    "openai": openai.trajectories,
}


def read_trajectories(
    path: str | Path, format: str = "auto", on_error: OnError = "raise", report: Report | None = None
) -> Iterator[Trajectory]:
    """The trajectories of a file, one after another; see `read_rows` for errors.

    Raises:
        ValueError: unknown format.
    """
    return read_rows(path, _TRAJECTORIES[_known(path, format)], on_error, report)


def read_cases(
    path: str | Path, format: str = "auto", on_error: OnError = "raise", report: Report | None = None
) -> Iterator[Case]:
    """The cases of a file. A row that is a trajectory gives its decision points: every call is a case.

    Raises:
        ValueError: unknown format.
    """
    kind = _known(path, format)
    if kind == "canonical":
        return read_rows(path, canonical.cases, on_error, report)

    def points(row: Any, place: Place) -> list[Case]:
        return [case for trajectory in _TRAJECTORIES[kind](row, place) for case in decision_points(trajectory)]

    return read_rows(path, points, on_error, report)


def read_predictions(path: str | Path) -> dict[str, str]:
    """Case id -> answer, from rows ``{"id", "prediction"}``; an id that appears twice is an error."""
    predictions: dict[str, str] = {}

    def remember(row: Any, place: Place) -> list[None]:
        if not isinstance(row, dict) or row.get("id") is None or not isinstance(row.get("prediction"), str):
            raise DataError('must be an object with "id" and the text "prediction"', field="row")
        if str(row["id"]) in predictions:
            raise DataError(f"{row['id']!r} appears twice", field="id")
        predictions[str(row["id"])] = row["prediction"]
        return []

    for _ in read_rows(path, remember):
        pass
    return predictions


def detect_format(path: str | Path) -> Literal["canonical", "tl", "openai"]:
    """The format of a file, by its first row.

    Raises:
        DataError: an empty file, or a row of no known format.
    """
    place, row = first_row(path)
    if "conversations" in row:
        return "tl"
    if not isinstance(row.get("messages"), list):
        raise place.locate(DataError('has neither "messages" nor "conversations": not a known format', field="row"))
    if "gold" in row or "gold_kind" in row:
        return "canonical"
    openai_tools = any(_has(tool, "function") for tool in _list(row.get("tools")))
    openai_messages = any(_is_openai(message) for message in row["messages"])
    return "openai" if row.get("id") is None or openai_tools or openai_messages else "canonical"


def _known(path: str | Path, format: str) -> str:
    if format == "auto":
        return detect_format(path)
    if format not in _TRAJECTORIES:
        raise ValueError(f"unknown format {format!r}; known: auto, {', '.join(_TRAJECTORIES)}")
    return format


def _is_openai(message: Any) -> bool:
    """Whether only OpenAI's format writes a message like this."""
    if not isinstance(message, dict):
        return False
    calls = any(_has(call, "function") for call in _list(message.get("tool_calls")))
    return calls or isinstance(message.get("content"), list) or "tool_call_id" in message or "function_call" in message


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _has(value: Any, key: str) -> bool:
    return isinstance(value, dict) and key in value
