"""Predictions beside the cases that they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from tl_jax.data.prompts import with_distinct_ids
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.schema import Case, DataError

T = TypeVar("T")


def join_predictions(cases: Iterable[Case], source: Path, predictions: Path) -> list[tuple[Case, str | None]]:
    """Every case with its prediction, None where there is none; in the order of the cases.

    Args:
        cases: those of the file ``source``.
        predictions: a file of rows ``{"id", "prediction"}``.

    Raises:
        DataError: a file that cannot be read, two cases or two predictions of one id, or predictions of no case.
    """
    return joined(with_distinct_ids(cases, source), str(source), read_predictions(predictions), predictions)


def joined(
    cases: Iterable[Case],
    source: str,
    answers: Mapping[str, T],
    predictions: Path,
    elsewhere: Callable[[str], bool] = lambda identity: False,
) -> list[tuple[Case, T | None]]:
    """Every case with its answer, None where there is none; in the order of the cases.

    Args:
        cases: with distinct ids.
        source: where they come from, for errors.
        answers: those of the file ``predictions``, by id.
        elsewhere: whether an id is that of a case which is not among these.

    Raises:
        DataError: answers of no case.
    """
    found = [(case, answers.get(case.id)) for case in cases]
    unknown = {identity for identity in answers if not elsewhere(identity)} - {case.id for case, _ in found}
    if unknown:
        raise DataError(
            f"{len(unknown)} predictions belong to no case of {source}, for instance {min(unknown)!r}",
            path=str(predictions),
            field="id",
        )
    return found
