"""``tl-jax score``: the metrics of given predictions, without a model."""

from __future__ import annotations

from pathlib import Path

from tl_jax.data.prompts import load_cases
from tl_jax.evaluation.predictions import join_predictions
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring, Summary, score_prediction, summarise


def score_file(
    cases: Path,
    predictions: Path,
    format: str = "auto",
    scoring: Scoring = PAPER_SCORING,
) -> tuple[Summary, int]:
    """The scores over every case, and how many had no prediction: those count as empty answers.

    Args:
        format: of ``cases``; auto looks at the first row.
        scoring: what counts as right.

    Raises:
        DataError: a file that cannot be read, or predictions that belong to no case.
    """
    pairs = join_predictions(load_cases(cases, format), cases, predictions)
    summary = summarise(score_prediction(prediction or "", case, scoring) for case, prediction in pairs)
    return summary, sum(prediction is None for _, prediction in pairs)
