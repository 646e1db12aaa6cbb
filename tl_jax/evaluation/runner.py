"""Evaluation of a model: an answer to every case, written as it goes, then the scores."""

from __future__ import annotations

from pathlib import Path

from tl_jax.addresses import full_name
from tl_jax.data.prompts import load_cases
from tl_jax.evaluation.answering import GREEDY, Answering
from tl_jax.evaluation.answers import answer_all, open_directory, settings_of
from tl_jax.evaluation.report import ALL, by_suite, print_summary, write_summary
from tl_jax.host_memory import give_back
from tl_jax.terminal import SafeConsole
from tl_jax.tooluse.metrics import PAPER_SCORING, Scoring, Summary, score_prediction
from tl_jax.tooluse.readers.predictions import PREDICTIONS
from tl_jax.tooluse.rewards.writable import unwritable_gold

SUMMARY = "summary.json"


def evaluate(
    model: Path,
    cases: Path,
    out: Path,
    answering: Answering = GREEDY,
    scoring: Scoring = PAPER_SCORING,
    *,
    format: str = "auto",
    limit: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Answers every case and writes ``predictions.jsonl`` and ``summary.json`` to ``out``; prints the table on stderr.

    A run that was cut off continues: cases answered in ``predictions.jsonl`` are not asked again.

    Args:
        model: a Hugging Face, checkpoint or run directory.
        cases: cases, or trajectories (each call is a case), in any format of the readers.
        out: directory to write.
        scoring: what counts as right; another choice scores the same answers anew.
        format: of ``cases``; auto looks at the first row.
        limit: only so many cases, the first ones.
        overwrite: forget the answers that ``out`` holds.

    Raises:
        UserError: anything that cannot be read, ``out`` holds answers made with other settings, the model has room
            for none of the prompts, or gold answers that the format cannot say and that ``scoring`` refuses.
    """
    console = SafeConsole(stderr=True)
    found = load_cases(cases, format, limit=limit, include=answering.include)
    unwritable = unwritable_gold(found, answering.codec(model).writer, scoring.unwritable)
    if unwritable.reasons:
        console.print(unwritable.line(), soft_wrap=True)
    wanted = [case for case in found if unwritable.keeps(case)]
    answers = open_directory(out, settings_of(model, full_name(cases), answering), overwrite)
    answers = answer_all(model, wanted, answers, answering, out / PREDICTIONS, console)
    give_back()
    suites = by_suite((case.suite, score_prediction(answers[case.id], case, scoring)) for case in wanted)
    write_summary(out / SUMMARY, suites, scoring, unwritable)
    print_summary(suites[ALL], suites, console)
    return suites[ALL]
