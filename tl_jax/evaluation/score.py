"""``tl-jax score``: the metrics of given predictions, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tl_jax.data.prompts import load_cases
from tl_jax.evaluation.predictions import join_predictions
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring, Summary, score_prediction, summarise
from tl_jax.tooluse.rewards.writable import UnwritableGold, unwritable_gold
from tl_jax.tooluse.text.render import make_renderer


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """The scores of a file of predictions.

    ``missing`` is how many cases had none: those count as empty answers. ``unwritable`` are the cases whose gold answer
    the format cannot say; they are no part of ``summary`` unless they were to be kept.
    """

    summary: Summary
    missing: int
    unwritable: UnwritableGold


def score_file(
    cases: Path,
    predictions: Path,
    format: str = "auto",
    scoring: Scoring = PAPER_SCORING,
    renderer: str = "paper",
) -> ScoredFile:
    """The scores over every case.

    Args:
        format: of ``cases``; auto looks at the first row.
        scoring: what counts as right.
        renderer: the text format that the predictions were asked for in.

    Raises:
        UserError: a file that cannot be read, predictions that belong to no case, no such format, or gold answers that
            it cannot say and that ``scoring`` refuses.
    """
    pairs = join_predictions(load_cases(cases, format), cases, predictions)
    unwritable = unwritable_gold((case for case, _ in pairs), make_renderer(renderer), scoring.unwritable)
    kept = [(case, prediction) for case, prediction in pairs if unwritable.keeps(case)]
    summary = summarise(score_prediction(prediction or "", case, scoring) for case, prediction in kept)
    return ScoredFile(summary, sum(prediction is None for _, prediction in kept), unwritable)
