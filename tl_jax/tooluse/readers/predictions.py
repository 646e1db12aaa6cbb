"""Files of a model's answers: ``{"id", "prediction"}``, which is no format of trajectories or cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers.rows import Place, read_rows
from tl_jax.tooluse.schema import DataError


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
