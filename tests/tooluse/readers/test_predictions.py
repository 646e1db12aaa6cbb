"""Files of a model's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tooluse.readers.helpers import (
    lines,
)
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.schema import DataError


def test_predictions(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {"id": "a", "prediction": "f()", "case": 1}, {"id": 2, "prediction": ""})
    assert read_predictions(path) == {"a": "f()", "2": ""}
    with pytest.raises(DataError, match=r":2: id: 'a' appears twice"):
        read_predictions(
            lines(tmp_path / "data.jsonl", {"id": "a", "prediction": "f()"}, {"id": "a", "prediction": "g()"})
        )
    with pytest.raises(DataError, match=r':1: row: must be an object with "id"'):
        read_predictions(lines(tmp_path / "data.jsonl", {"id": "a", "prediction": None}))
