"""Predictions beside the cases that they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tl_jax.addresses import shown
from tl_jax.data.prompts import with_distinct_ids
from tl_jax.errors import UserError
from tl_jax.files import told
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.readers.predictions import PREDICTIONS, SETTINGS
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.schema import Case, DataError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file of answers, and what they were made with as far as that is known.

    Attributes:
        name: as it was asked for.
        path: of the file itself.
    """

    name: str
    path: Path
    settings: Mapping[str, Any]


def find_answers(path: Path) -> AnswerFile:
    """The answers that a path names: a file, the directory of an evaluation, or one with a single evaluation in it.

    Raises:
        UserError: the directory holds none, or several, or its settings are broken.
    """
    if not path.is_dir():
        return AnswerFile(shown(path), path, {})
    found = [path / PREDICTIONS] if (path / PREDICTIONS).is_file() else sorted(path.glob(f"*/{PREDICTIONS}"))
    if not found:
        raise UserError(
            f"{path}: holds no {PREDICTIONS}; make one with tl-jax eval --out, or name a file of predictions"
        )
    if len(found) > 1:
        names = ", ".join(str(file.parent) for file in found[:4])
        raise UserError(f"{path}: holds several evaluations; name one of them: {names}{', ...' if found[4:] else ''}")
    settings = read_settings(file := found[0].with_name(SETTINGS))
    if settings is None:
        raise UserError(
            f"{file}: is broken, so nobody knows what was answered with which settings; name {found[0]} itself, and "
            "--cases"
        )
    return AnswerFile(shown(path), found[0], settings)


def read_settings(file: Path) -> dict[str, Any] | None:
    """What the answers beside ``file`` were made with; nothing where it is not there, None where it is broken."""
    try:
        with told(file, "cannot be read"):
            found = parse(file.read_bytes()) if file.is_file() else {}
    except DataError:
        return None
    return found if isinstance(found, dict) else None


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
