"""Files of a model's answers: ``{"id", "prediction"}``, which is no format of trajectories or cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, TypeVar

from tl_jax.tooluse.readers.rows import Place, read_rows
from tl_jax.tooluse.schema import DataError

T = TypeVar("T")

Turns: TypeAlias = list[list[str]]
"""For each turn of the user, the answers that the model gave until it made no call."""


def read_predictions(path: str | Path) -> dict[str, str]:
    """Case id -> answer, from rows ``{"id", "prediction"}``; an id that appears twice is an error."""
    return _read(path, _is_text, 'the text "prediction"')


def read_turns(path: str | Path) -> dict[str, str | Turns]:
    """As `read_predictions`, where a prediction may also be a list of turns, each a list of texts."""
    return _read(path, _is_text_or_turns, '"prediction", a text or a list of turns, each a list of texts')


def _read(path: str | Path, fits: Callable[[Any], TypeGuard[T]], wanted: str) -> dict[str, T]:
    predictions: dict[str, T] = {}

    def remember(row: Any, place: Place) -> list[None]:
        prediction = row.get("prediction") if isinstance(row, dict) else None
        if not isinstance(row, dict) or row.get("id") is None or not fits(prediction):
            raise DataError(f'must be an object with "id" and {wanted}', field="row")
        if str(row["id"]) in predictions:
            raise DataError(f"{row['id']!r} appears twice", field="id")
        predictions[str(row["id"])] = prediction
        return []

    for _ in read_rows(path, remember):
        pass
    return predictions


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)


def _is_text_or_turns(value: Any) -> TypeGuard[str | Turns]:
    if isinstance(value, list):
        return all(isinstance(turn, list) and all(isinstance(text, str) for text in turn) for turn in value)
    return isinstance(value, str)
