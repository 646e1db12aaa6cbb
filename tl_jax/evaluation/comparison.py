"""``tl-jax compare``: two models' answers to the same cases. What differs, and is it more than chance?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tl_jax.data.prompts import load_cases
from tl_jax.errors import UserError
from tl_jax.evaluation.predictions import AnswerFile, find_answers, joined
from tl_jax.evaluation.suites import SUITES
from tl_jax.tooluse.intervals import Interval, exact_p, mean_interval, paired_interval
from tl_jax.tooluse.metrics import PAPER_SCORING, CaseScore, Scoring, score_prediction
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.rewards.score import Reward, resolve_profile, score
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.tooluse.schema import Case
from tl_jax.tooluse.text.render import make_renderer

Change: TypeAlias = Literal["better", "worse", "otherwise"]
"""How B's answer to a case differs from A's. Of ``otherwise`` is another fault that is worth the same."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """An answer, its score and its reward."""

    prediction: str
    score: CaseScore
    reward: Reward

    @property
    def rank(self) -> tuple[bool, bool, bool, float]:
        """Sorts worse before better answers."""
        return self.score.ts, self.score.pi, self.score.cf, self.reward.value


@dataclass(frozen=True, slots=True)
class CasePair:
    """A case and what became of it in both."""

    case: Case
    a: Assessed
    b: Assessed

    @property
    def change(self) -> Change | None:
        """None where both are worth the same, for the same reason."""
        if self.a.rank != self.b.rank:
            return "better" if self.b.rank > self.a.rank else "worse"
        return "otherwise" if self.a.score.error != self.b.score.error else None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both, over the same cases: a share in %, or a mean.

    Attributes:
        interval: 95 %, paired bootstrap over cases, of ``b - a``.
        higher_a: cases in which it is higher in A: right only there.
        higher_b: cases in which it is higher in B.
        p: McNemar's exact test of these two numbers, see `exact_p`.
    """

    a: float
    b: float
    interval: Interval
    higher_a: int
    higher_b: int

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.interval[0] <= 0 <= self.interval[1]

    @property
    def p(self) -> float:
        return exact_p(self.higher_b, self.higher_a)


def difference_of_shares(pairs: Sequence[CasePair], holds: Callable[[Assessed], bool]) -> Difference:
    """In how many % of the answers something holds."""
    outcomes = Counter((holds(pair.a), holds(pair.b)) for pair in pairs)
    both, lost, gained = outcomes[True, True], outcomes[True, False], outcomes[False, True]
    cases = max(len(pairs), 1)
    share_a, share_b = 100 * (both + lost) / cases, 100 * (both + gained) / cases
    return Difference(share_a, share_b, paired_interval(gained, lost, len(pairs)), lost, gained)


def difference_of_means(pairs: Sequence[CasePair], value: Callable[[Assessed], float]) -> Difference:
    """The mean of a number that every answer has."""
    values = [(value(pair.a), value(pair.b)) for pair in pairs]
    changes = [b - a for a, b in values]
    mean_a, mean_b = (math.fsum(pair[side] for pair in values) / max(len(values), 1) for side in (0, 1))
    lost, gained = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    return Difference(mean_a, mean_b, mean_interval(changes), lost, gained)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two files of answers to the same cases.

    Attributes:
        pairs: the cases that both answer and that have gold calls.
        unscored: cases that both answer and that have none.
        left_out: cases that only one of them answers, which were to be left out.
        notes: what else has to be known, a line each.
    """

    a: AnswerFile
    b: AnswerFile
    pairs: tuple[CasePair, ...]
    unscored: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> dict[str, Difference]:
        """TS, PI, CF and the reward."""
        return {**_shares(self.pairs), "reward": difference_of_means(self.pairs, lambda outcome: outcome.reward.value)}

    @property
    def suites(self) -> dict[str, tuple[int, dict[str, Difference]]]:
        """For each suite its cases, and TS, PI and CF."""
        groups: dict[str, list[CasePair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.case.suite or "unnamed", []).append(pair)
        return {name: (len(pairs), _shares(pairs)) for name, pairs in groups.items()}

    @property
    def errors(self) -> dict[str, Difference]:
        """How often each outcome was had, the most frequent first."""
        counts = Counter(outcome.score.error for pair in self.pairs for outcome in (pair.a, pair.b))
        return {name: _error_difference(self.pairs, name) for name, _ in counts.most_common()}

    @property
    def moves(self) -> Counter[tuple[str, str]]:
        """How many cases had one outcome in A and another in B."""
        moves = Counter((pair.a.score.error, pair.b.score.error) for pair in self.pairs)
        return Counter({move: count for move, count in moves.items() if move[0] != move[1]})

    @property
    def changed(self) -> dict[Change, list[CasePair]]:
        """The cases whose answers are worth something else, or wrong for another reason."""
        found: dict[Change, list[CasePair]] = {"better": [], "worse": [], "otherwise": []}
        for pair in self.pairs:
            if pair.change:
                found[pair.change].append(pair)
        return found


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
    answers_a, answers_b = (_answers(side, found, source) for side in (first, second))
    left_out = _left_out((first, answers_a), (second, answers_b), common)
    unwritable = unwritable_gold(found, make_renderer(renderer), scoring.unwritable)
    both = [case for case in found if case.id in answers_a and case.id in answers_b and unwritable.keeps(case)]
    with_gold = [case for case in both if case.gold and case.gold_kind != "none"]
    if not with_gold:
        raise UserError(f"{first.path} and {second.path}: no case of {source} that both answer has gold calls")
    graded = resolve_profile(profile)

    def outcome(answers: Mapping[str, str], case: Case) -> Assessed:
        prediction = answers[case.id]
        return Assessed(prediction, score_prediction(prediction, case, scoring), score(prediction, case, graded))

    return Compared(
        first,
        second,
        tuple(CasePair(case, outcome(answers_a, case), outcome(answers_b, case)) for case in with_gold),
        unscored=len(both) - len(with_gold),
        left_out=left_out,
        notes=tuple(_notes(first, second, unwritable.line())),
    )


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
            f"{a.path} answers the suite {named[0]!r}, which has rules of its own; its scores: tl-jax score --suite"
        )
    if not Path(named[0]).exists():
        raise UserError(f"{named[0]}: the cases of {a.path} are not there; name them with --cases")
    return Path(named[0])


def _answers(side: AnswerFile, cases: Sequence[Case], source: Path) -> dict[str, str]:
    answers = read_predictions(side.path)
    joined(cases, str(source), answers, side.path)  # which refuses answers of no case
    return answers


def _left_out(a: tuple[AnswerFile, Iterable[str]], b: tuple[AnswerFile, Iterable[str]], common: bool) -> int:
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


def _notes(a: AnswerFile, b: AnswerFile, unwritable: str) -> Iterable[str]:
    if unwritable:
        yield unwritable
    names = [name for name in {**a.settings, **b.settings} if name not in ("model", "cases")]
    differ = [name for name in names if a.settings.get(name) != b.settings.get(name)]
    if differ and a.settings and b.settings:
        yield f"made with different settings: {', '.join(differ)}"


def _shares(pairs: Sequence[CasePair]) -> dict[str, Difference]:
    return {
        "TS": difference_of_shares(pairs, lambda outcome: outcome.score.ts),
        "PI": difference_of_shares(pairs, lambda outcome: outcome.score.pi),
        "CF": difference_of_shares(pairs, lambda outcome: outcome.score.cf),
    }


def _error_difference(pairs: Sequence[CasePair], name: str) -> Difference:
    return difference_of_shares(pairs, lambda outcome: outcome.score.error == name)
