"""Files of a model's answers: ``{"id", "prediction"}``, which is no format of trajectories or cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, TypeVar

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import described
from tl_jax.tooluse.readers.rows import Place, read_rows
from tl_jax.tooluse.schema import DataError

T = TypeVar("T")

Turns: TypeAlias = list[list[str]]
"""For each turn of the user, the answers that the model gave until it made no call."""
PREDICTIONS, SETTINGS = "predictions.jsonl", "settings.json"
"""Files of a directory with answers: these, and what they were made with."""
_HOW = ("tokens", "finished", "problem")
"""What our own files say about how an answer came about."""


def read_predictions(path: str | Path) -> dict[str, str]:
    """Case id -> answer, from rows ``{"id", "prediction"}``.

    Raises:
        DataError: a row without these, with a field that is not known, or with the id of an earlier one.
    """
    return _read(path, _is_text, 'the text "prediction"')


def read_turns(path: str | Path) -> dict[str, str | Turns]:
    """As `read_predictions`, where a prediction may also be a list of turns, each a list of texts."""
    return _read(path, _is_text_or_turns, '"prediction", a text or a list of turns, each a list of texts')


def _read(path: str | Path, fits: Callable[[Any], TypeGuard[T]], wanted: str) -> dict[str, T]:
    predictions: dict[str, T] = {}

    def remember(row: Any, place: Place) -> list[None]:
        with Fields(row) as fields:
            name, prediction = fields.take("id", default=None), fields.take("prediction", default=None)
            if name is None or not fits(prediction):
                raise DataError(f'must be an object with "id" and {wanted}', field="row")
            fields.keep(*_HOW)
            described(fields)
        if str(name) in predictions:
            raise DataError(f"{name!r} appears twice", field="id")
        predictions[str(name)] = prediction
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
