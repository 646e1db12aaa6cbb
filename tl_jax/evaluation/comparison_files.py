"""Files of answers, as they are compared: which belong together, and what each answer is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from tl_jax.bucket_files import brought_from, profile_from
from tl_jax.data.prompts import load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.comparison import Assessed, CasePair, Compared
from tl_jax.evaluation.predictions import AnswerFile, find_answers, joined
from tl_jax.evaluation.suites import SUITES, Suite
from tl_jax.tooluse.bfcl.check import CORRECT
from tl_jax.tooluse.metrics import NO_GOLD, PAPER_SCORING, Scoring, score_prediction
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.readers.predictions import Turns
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.render import make_renderer


def compare_files(
    a: Path,
    b: Path,
    cases: Path | None = None,
    format: str = "auto",
    scoring: Scoring = PAPER_SCORING,
    renderer: str = "paper",
    profile: str = "paper",
    common: bool = False,
) -> Compared:
    """Compares answers case by case.

    Args:
        a: a file of predictions or the directory of an evaluation, see `find_answers`.
        b: the same; differences are B - A.
        cases: that both answer; None = those that the directories say.
        format: of ``cases``; auto looks at the first row.
        scoring: what counts as right.
        renderer: the text format that the predictions were asked for in.
        profile: of the rewards.
        common: leave out cases that only one of them answers.

    Raises:
        UserError: a file that cannot be read, predictions that belong to no case, or to other cases than the other's.
    """
    first, second = find_answers(a), find_answers(b)
    source = cases or _cases_of(first, second)
    found = load_cases(source, format)
    unwritable = unwritable_gold(found, make_renderer(renderer), scoring.unwritable)
    kept = [case for case in found if unwritable.keeps(case)]
    graded = profile_from(profile)

    def assess(prediction: str, case: Case) -> Assessed:
        scored, reward = score_prediction(prediction, case, scoring), score(prediction, case, graded)
        right = {"TS": scored.ts, "PI": scored.pi, "CF": scored.cf}
        return Assessed(prediction, right, scored.error, reward.value, reward.explanation)

    def side(file: AnswerFile) -> dict[str, Assessed | None]:
        answers = read_predictions(file.path)
        joined(found, str(source), answers, file.path)  # which refuses answers of no case
        return {
            case.id: assess(answers[case.id], case) if case.has_gold else None for case in kept if case.id in answers
        }

    return _compared((first, side(first)), (second, side(second)), kept, common, unwritable.line())


def compare_suite(
    a: Path, b: Path, suite: Suite, categories: Sequence[str], source: Path | None = None, common: bool = False
) -> Compared:
    """The same of answers to the questions of a suite, each right or wrong by its rules; what they need is `accuracy`.

    Args:
        a: as for `compare_files`.
        b: the same.
        suite: whose questions they answer.
        categories: of the suite.
        source: its files, where they are not the package's.
        common: leave out questions that only one of them answers.

    Raises:
        UserError: as `compare_files`, or the suite's files are not there.
    """
    sides, cases = [], dict[str, Case]()
    for file in (find_answers(a), find_answers(b)):
        assessed: dict[str, Assessed | None] = {}
        for case, prediction, fault in suite.faults(file.path, categories, source):
            cases[case.id] = case
            if prediction is not None:
                right = {"accuracy": fault == CORRECT}
                assessed[case.id] = None if fault == NO_GOLD else Assessed(_in_one(prediction), right, fault)
        sides.append((file, assessed))
    return _compared(sides[0], sides[1], list(cases.values()), common)


def _in_one(prediction: str | Turns) -> str:
    return prediction if isinstance(prediction, str) else "\n".join(chain.from_iterable(prediction))


Side: TypeAlias = tuple[AnswerFile, Mapping[str, Assessed | None]]
"""Answers by the id of their case; None where nothing tells what is right."""


def _compared(a: Side, b: Side, cases: Sequence[Case], common: bool, note: str = "") -> Compared:
    """Both sides, in the order of the cases."""
    left_out = _left_out(a, b, common)
    pairs, unscored = [], 0
    for case in cases:
        if case.id in a[1] and case.id in b[1]:
            one, other = a[1][case.id], b[1][case.id]
            if one and other:
                pairs.append(CasePair(case, one, other))
            else:
                unscored += 1
    if not pairs:
        raise UserError(f"{a[0].path} and {b[0].path}: no case that both answer has anything to compare with")
    neither = sum(case.id not in a[1] and case.id not in b[1] for case in cases)
    unanswered = f"{neither} of {len(cases)} cases are answered by neither" if neither else ""
    return Compared(a[0], b[0], tuple(pairs), unscored, left_out, tuple(_notes(a[0], b[0], note, unanswered)))


def _cases_of(a: AnswerFile, b: AnswerFile) -> Path:
    """The cases that the settings beside the answers name.

    Raises:
        UserError: they name none, not the same, or a suite.
    """
    named = [str(side.settings["cases"]) for side in (a, b) if "cases" in side.settings]
    if not named:
        raise UserError(f"{a.path}: nothing beside it says which cases it answers; name them with --cases")
    if len(set(named)) > 1:
        raise UserError(
            f"{a.path} answers the cases of {named[0]}, {b.path} those of {named[1]}; if they are the same, name them "
            "with --cases"
        )
    if named[0] in SUITES:
        raise UserError(
            f"{a.path} answers a suite, which has rules of its own: compare --suite {named[0]} --category NAME"
        )
    cases = brought_from(named[0])
    if not cases.exists():
        raise UserError(f"{named[0]}: the cases of {a.path} are not there; name them with --cases")
    return cases


def _left_out(a: Side, b: Side, common: bool) -> int:
    """How many cases only one of the two answers.

    Raises:
        UserError: there are some, and not only those in ``common`` were asked for.
    """
    alone = []
    for (side, ids), (other, other_ids) in ((a, b), (b, a)):
        if only := {*ids} - {*other_ids}:
            alone.append(f"{side.path} answers {len(only)} cases that {other.path} does not, as {min(only)!r}")
    if alone and not common:
        raise UserError(f"{'; '.join(alone)}; --common compares those that both answer")
    return len({*a[1]} ^ {*b[1]})


def _notes(a: AnswerFile, b: AnswerFile, *notes: str) -> Iterable[str]:
    yield from filter(None, notes)
    names = [name for name in {**a.settings, **b.settings} if name not in ("model", "cases")]
    differ = [name for name in names if a.settings.get(name) != b.settings.get(name)]
    if differ and a.settings and b.settings:
        yield f"made with different settings: {', '.join(differ)}"
