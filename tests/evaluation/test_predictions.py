"""Predictions are joined with the cases of their ids, and what does not fit is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tl_jax.evaluation.predictions import join_predictions
from tl_jax.tooluse.schema import Case, DataError, Message

CASES = [Case(name, (), (Message("user", "?"),)) for name in ("a", "b", "c")]


def write(path: Path, **answers: str) -> Path:
    path.write_text("".join(json.dumps({"id": name, "prediction": text}) + "\n" for name, text in answers.items()))
    return path


def test_every_case_in_its_order(tmp_path: Path) -> None:
    predictions = write(tmp_path / "p.jsonl", c="3", a="")
    joined = join_predictions(iter(CASES), Path("cases.jsonl"), predictions)
    assert [(case.id, prediction) for case, prediction in joined] == [("a", ""), ("b", None), ("c", "3")]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    stray = write(tmp_path / "p.jsonl", a="1", z="2", y="3")
    with pytest.raises(DataError, match=r"p.jsonl: id: 2 predictions belong to no case of cases.jsonl, .* 'y'"):
        join_predictions(CASES, Path("cases.jsonl"), stray)
    with pytest.raises(DataError, match=r"cases.jsonl: id: 'a' appears twice"):
        join_predictions([*CASES, CASES[0]], Path("cases.jsonl"), stray)
