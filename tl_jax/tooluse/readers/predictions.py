"""Files of a model's answers: ``{"id", "prediction"}``, which is no format of trajectories or cases.

An answer is a text, or the message that an API answered; see `answers` for what is read of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.readers.answers import answer_text, is_answer
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
    return _read(path, _answer, "a text or the assistant's message")


def read_turns(path: str | Path) -> dict[str, str | Turns]:
    """As `read_predictions`, where a prediction may also be a list of turns, each a list of texts."""
    return _read(path, _answer_or_turns, "a text, the assistant's message or a list of turns, each a list of texts")


def _read(path: str | Path, read: Callable[[Any], T | None], wanted: str) -> dict[str, T]:
    """Case id -> what ``read`` makes of a prediction; None where it is nothing that is ``wanted``."""
    predictions: dict[str, T] = {}

    def remember(row: Any, place: Place) -> list[None]:
        with Fields(row) as fields:
            name = row_id(fields) if "id" in fields else None
            prediction = read(fields.take("prediction", default=None))
            if name is None or prediction is None:
                raise DataError(f'must be an object with "id" and "prediction", {wanted}', field="row")
            fields.keep(*_HOW)
            described(fields)
        if name in predictions:
            raise DataError(f"{name!r} appears twice", field="id")
        predictions[name] = prediction
        return []

    for _ in read_rows(path, remember):
        pass
    return predictions


def _answer(value: Any) -> str | None:
    if is_answer(value):
        return answer_text(value, "prediction")
    return value if isinstance(value, str) else None


def _answer_or_turns(value: Any) -> str | Turns | None:
    if isinstance(value, list) and all(isinstance(turn, list) and all(map(_is_text, turn)) for turn in value):
        return value
    return _answer(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
