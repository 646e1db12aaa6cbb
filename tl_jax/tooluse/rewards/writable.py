"""Gold answers that their own text format cannot say: nobody can answer such a case, and nobody should be told 0 %."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias

from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.compare import bind_all, compare, offered_tools, same_value
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.parse import parse_answer

Unwritable: TypeAlias = Literal["error", "skip", "keep"]
"""What becomes of cases with such gold: they are refused, left out and counted, or kept and counted."""

_SHOWN = 3


class AnswerFormat(Protocol):
    """Whatever writes answers."""

    @property
    def name(self) -> str:
        """That of the text format."""

    def answer(self, calls: Sequence[Call]) -> str:
        """How the calls are written."""


@dataclass(frozen=True, slots=True)
class UnwritableGold:
    """The cases of a file whose gold answer its text format cannot say.

    Attributes:
        format: the name of the text format.
        reasons: id -> what is wrong.
    """

    format: str
    policy: Unwritable
    reasons: Mapping[str, str]

    def keeps(self, case: Case) -> bool:
        """Whether the case is used."""
        return self.policy == "keep" or case.id not in self.reasons

    def line(self) -> str:
        """For people, with the first ids; empty where there are none."""
        if not self.reasons:
            return ""
        count = len(self.reasons)
        cases = "1 case has" if count == 1 else f"{count} cases have"
        what = {"error": "", "skip": ", and is left out" if count == 1 else ", and are left out", "keep": ""}
        first = [f"{name} ({reason})" for name, reason in list(self.reasons.items())[:_SHOWN]]
        more = ["..."] if count > _SHOWN else []
        return f"{cases} a gold answer that the format {self.format!r} cannot say{what[self.policy]}: " + ", ".join(
            [*first, *more]
        )


def unwritable_gold(cases: Iterable[Case], writer: AnswerFormat, policy: Unwritable = "keep") -> UnwritableGold:
    """The cases whose gold answer is not read back as it was written.

    Args:
        writer: a `Renderer`, or what writes answers as tokens and reads these, which loses more.

    Raises:
        UserError: there are some, and the policy is ``error``.
    """
    reasons = {case.id: reason for case in cases if (reason := why_unwritable(case, writer))}
    found = UnwritableGold(writer.name, policy, reasons)
    if reasons and policy == "error":
        raise UserError(f"{found.line()}; leave them out with unwritable=skip, or use another format (renderer)")
    return found


def why_unwritable(case: Case, writer: AnswerFormat) -> str:
    """Why nobody can give a right answer to the case in this format; empty if somebody can.

    Written is one of the gold alternatives, and read with the tools on offer as every answer is. Of an alternative that
    leaves something open the shortest right answer is tried as well. The calls of a ``sequence``, and ``open`` calls,
    are answers of their own, one after another.

    Example:
        >>> from tl_jax.tooluse.schema import Message
        >>> from tl_jax.tooluse.text.render import PaperRenderer
        >>> gold = Call("add", {"a": 10**400})
        >>> why_unwritable(Case("1", (), (Message("user", "?"),), ((gold,),)), PaperRenderer())
        'a number is too large'
    """
    if not case.has_gold:
        return ""
    offered = offered_tools(case)
    reasons = []
    for alternative in case.gold:
        answers = [(call,) for call in alternative] if case.gold_kind in ("sequence", "open") else [alternative]
        faults = [
            reason
            for calls in answers
            if (reason := _reason(calls, offered, writer)) and _reason(_shortest(calls), offered, writer)
        ]
        if not faults:
            return ""
        reasons += faults
    return reasons[0]


def _shortest(calls: Sequence[Call]) -> list[Call]:
    """The shortest calls that are as right as these."""

    def shortest(call: Call, name: str) -> Any:
        return 0 if name in call.wild else min(call.values(name), key=lambda value: len(repr(value)))

    return [
        replace(call, arguments={name: shortest(call, name) for name in call.arguments if name not in call.optional})
        if call.wild or call.accepted or call.optional
        else call
        for call in calls
    ]


def _reason(gold: Sequence[Call], offered: Mapping[str, Tool], writer: AnswerFormat) -> str:
    """Why these calls are not read back as they are written; empty if they are, or there are none."""
    if not gold:
        return ""
    try:
        answer = parse_answer(writer.answer(gold), offered.values())
    except (ValueError, RecursionError) as error:  # it has no words for them, or no tokens; `UserError` is one of these
        return str(error)
    if answer.problem is not None:
        return answer.problem
    calls = bind_all(answer.calls, answer.positional, offered)
    if len(calls) != len(gold):
        return f"is read back as {len(calls)} calls instead of {len(gold)}"
    for call, wanted in zip(calls, gold, strict=True):
        if faults := compare(call, wanted, offered, same_value, defaults=False):
            return f"is read back with another {_WHAT[faults[0].category]}: {faults[0].detail}"
    return ""


_WHAT = {
    "hallucinated_tool": "tool",
    "wrong_tool": "tool",
    "hallucinated_parameter": "argument",
    "redundant_parameter": "argument",
    "missing_parameter": "argument",
    "wrong_value": "value",
}
