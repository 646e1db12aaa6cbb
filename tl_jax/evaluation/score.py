"""``tl-jax score``: the metrics of given predictions, without a model."""

from __future__ import annotations

from pathlib import Path

from tl_jax.data.prompts import load_cases
from tl_jax.tooluse.metrics import Policy, Summary, score_prediction, summarise
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.schema import DataError


def score_file(
    cases: Path,
    predictions: Path,
    format: str = "auto",
    *,
    policy: Policy = "any",
    strict: bool = False,
    rotbench: bool = False,
) -> tuple[Summary, int]:
    """The scores over every case, and how many had no prediction: those count as empty answers.

    Args:
        format: of ``cases``; auto looks at the first row.
        policy, strict, rotbench: as for `score_prediction`.

    Raises:
        DataError: a file that cannot be read, or predictions that belong to no case.
    """
    wanted = load_cases(cases, format)
    answers = read_predictions(predictions)
    if unknown := answers.keys() - {case.id for case in wanted}:
        raise DataError(
            f"{len(unknown)} predictions belong to no case of {cases}, for instance {sorted(unknown)[0]!r}",
            path=str(predictions),
            field="id",
        )
    summary = summarise(
        score_prediction(answers.get(case.id, ""), case, policy, strict=strict, rotbench=rotbench) for case in wanted
    )
    return summary, len(wanted) - len(answers)
