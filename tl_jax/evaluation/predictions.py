"""Predictions beside the cases that they answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tl_jax.data.prompts import with_distinct_ids
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.schema import Case, DataError


def join_predictions(cases: Iterable[Case], source: Path, predictions: Path) -> list[tuple[Case, str | None]]:
    """Every case with its prediction, None where there is none; in the order of the cases.

    Args:
        cases: those of the file ``source``.
        predictions: a file of rows ``{"id", "prediction"}``.

    Raises:
        DataError: a file that cannot be read, two cases or two predictions of one id, or predictions of no case.
    """
    answers = read_predictions(predictions)
    joined = [(case, answers.get(case.id)) for case in with_distinct_ids(cases, source)]
    if unknown := answers.keys() - {case.id for case, _ in joined}:
        raise DataError(
            f"{len(unknown)} predictions belong to no case of {source}, for instance {min(unknown)!r}",
            path=str(predictions),
            field="id",
        )
    return joined
