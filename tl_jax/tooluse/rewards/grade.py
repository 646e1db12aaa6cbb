"""Grading an answer by its calls: what every profile but the reference scorer has in common.

The whole completion has to be the calls asked for and nothing else. Calls are parsed, never searched for, and values
are compared with their types, so that no text scores without being right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tl_jax.tooluse.rewards.compare import Fault, bind_all, offered_tools
from tl_jax.tooluse.rewards.matching import best_assignment
from tl_jax.tooluse.rewards.verdict import Verdict
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import MAX_LENGTH, Answer, parse_answer, without_thoughts
from tl_jax.tooluse.text.syntaxes import attempted

MAX_SPARE = 100
"""Calls beyond those asked for that are still compared, each with every gold call."""


class Profile(Protocol):
    """A way of turning an answer into a figure: a record of `tl_jax.tooluse.rewards.profiles.PROFILES`."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """In a few words, for the documents."""

    def grade(self, prediction: str, case: Case) -> Verdict:
        """The best over the gold alternatives. Never raises for any prediction.

        Raises:
            ValueError: a case without gold.
        """

    def arithmetic(self, verdict: Verdict) -> str:
        """How a verdict's value was computed, on one line: ``-0.8 -0.5 = -1.3``."""


class CallGrader(Protocol):
    """A way of turning faults of parsed calls into figures."""

    def whole(self, fault: Fault | None) -> Verdict:
        """An answer that is right or wrong as a whole, without calls to compare."""

    def calls(self, predicted: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool]) -> Verdict:
        """Calls against the gold calls, of which there is at least one."""


def grade_calls(prediction: str, case: Case, grader: CallGrader) -> Verdict:
    """Parses an answer and grades its calls: `Profile.grade` of a profile that is a `CallGrader`.

    Raises:
        ValueError: a case without gold.
    """
    wanted = alternatives(case)
    offered = offered_tools(case)
    answer = parse_answer(prediction, offered.values())
    calls = bind_all(answer.calls, answer.positional, offered)
    if case.gold_kind == "open" and len(calls) > 1:
        wanted = [_meant(calls, gold, offered, grader) for gold in case.gold]
    verdicts = [_against(gold, prediction, answer, calls, offered, grader) for gold in wanted]
    return max(verdicts, key=lambda verdict: verdict.value) if len(verdicts) > 1 else verdicts[0]


def alternatives(case: Case) -> list[tuple[Call, ...]]:
    """The calls that are each a right answer; none at all (an empty alternative) means that no call is to be made.

    The answer to a ``sequence`` is its first call; of ``open`` calls each is one, as far as an answer of one call goes.

    Raises:
        ValueError: a case without gold.
    """
    if not case.has_gold:
        raise ValueError(f"case {case.id!r} has no gold answer, so there is nothing to reward")
    if case.gold_kind == "open":
        return [(call,) for gold in case.gold for call in gold]
    return [gold[:1] for gold in case.gold] if case.gold_kind == "sequence" else list(case.gold)


def _meant(
    calls: Sequence[Call], gold: Sequence[Call], offered: Mapping[str, Tool], grader: CallGrader
) -> tuple[Call, ...]:
    """Of open gold calls those that an answer of several calls is nearest to; all where it makes no fewer."""
    if len(calls) >= len(gold):
        return tuple(gold)
    worth = [[grader.calls((call,), (one,), offered).value for one in gold] for call in calls]
    return tuple(gold[column] for column in sorted(column for _, column in best_assignment(worth)))


def _against(
    gold: Sequence[Call],
    prediction: str,
    answer: Answer,
    calls: Sequence[Call],
    offered: Mapping[str, Tool],
    grader: CallGrader,
) -> Verdict:
    if not gold:
        return grader.whole(uncalled_for(prediction, answer, offered))
    if answer.problem is not None:
        return grader.whole(Fault("parse_failure", reason=answer.problem))
    if len(calls) > len(gold) + MAX_SPARE:
        return grader.whole(Fault("parse_failure", reason=f"{len(calls)} calls instead of {len(gold)}"))
    return grader.calls(calls, gold, offered)


def uncalled_for(prediction: str, answer: Answer, offered: Mapping[str, Tool]) -> Fault | None:
    """What is wrong with an answer where no call is to be made: it makes one, tries to, or says nothing.

    Args:
        answer: what the prediction was read as, with the ``offered`` tools.
    """
    for call, positional in zip(answer.calls, answer.positional, strict=True):
        if call.name not in offered and _is_meant(call, positional, prediction, answer):
            return Fault("hallucinated_tool", (), call)
    for call in answer.calls:
        if call.name in offered:
            return Fault("wrong_tool", (), call)
    if len(prediction) > MAX_LENGTH:
        return Fault("parse_failure", reason=f"longer than {MAX_LENGTH} characters")
    said = without_thoughts(prediction)
    if not said.strip():
        return Fault("parse_failure", reason="neither text nor a call")
    if syntax := attempted(said, tuple(offered)):
        return Fault("parse_failure", reason=f"a call that is not understood, in the syntax {syntax.name!r}")
    return None


def _is_meant(call: Call, positional: Sequence[Any], prediction: str, answer: Answer) -> bool:
    """Whether a call of no tool on offer is one after all, and not an example or a year in brackets.

    It is the whole answer, or the last line of it and written with the names of its arguments.
    """
    if f"{call.name} (" in prediction:  # "Paris (2024)" is prose
        return False
    return answer.problem is None or (f"{call.name}(" in prediction and bool(call.arguments) and not positional)
