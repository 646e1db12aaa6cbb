"""A reward without gold calls: what the tools themselves say, read by the categories of MAE.

What an episode can earn has a bound, so that it never pays to go on for the sake of going on: calls that succeed are
paid in the first ``paid_turns`` turns only, and never a second time; an answer in words earns once, and only after
something succeeded; every turn costs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from tl_jax.tooluse.mae.apply import find_error
from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.rewards.compare import canonical, offered_tools
from tl_jax.tooluse.rewards.grade import uncalled_for
from tl_jax.tooluse.rewards.verdict import Reward
from tl_jax.tooluse.schema import Call, Case, Message
from tl_jax.tooluse.text.parse import parse_answer

SUCCESS = 1.0
COSTS: Mapping[Category, float] = {
    Category.TOOL_HALLUCINATION: -2.0,
    Category.PARAMETER_HALLUCINATION: -0.8,
    Category.MISSING_PARAMETER: -0.5,
    Category.BAD_VALUE: -0.25,
    Category.UNKNOWN_ERROR: -0.5,
    Category.ENVIRONMENT: 0.0,
}
"""The figures of the paper's table for the same faults; a fault of the environment is not the caller's."""


class AnsweredTurn(Protocol):
    """A turn and what came back to it."""

    @property
    def case(self) -> Case:
        """The conversation before it."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> bool:
        """It ended by itself and was not cut off."""

    @property
    def calls(self) -> Sequence[Call]: ...

    @property
    def results(self) -> Sequence[str]:
        """One for each call."""


def live_reward(turn: AnsweredTurn, turn_cost: float = 0.1, answer: float = 1.0, paid_turns: int = 1) -> Reward:
    """The mean over a turn's calls of `SUCCESS` or of the cost of the error that came back, less the turn's cost.

    Args:
        turn: with the results of its calls.
        turn_cost: of every turn.
        answer: what an answer in words earns, if a call since the user's last message has succeeded.
        paid_turns: turns after a message of the user whose successful calls are paid; those of later ones earn 0, as
            does a call that has succeeded before with the same arguments.

    Example:
        >>> from types import SimpleNamespace
        >>> case = Case("1", (), (Message("user", "Which pages?"),))
        >>> made, came = [Call("open"), Call("find")], ['{"pages": 3}', "Unknown tool: find"]
        >>> live_reward(SimpleNamespace(case=case, text="", finished=True, calls=made, results=came))
        ... # doctest: +NORMALIZE_WHITESPACE
        Reward(value=-0.6, category='tool_hallucination',
               explanation='+1 open: success; -2 find: tool_hallucination; -0.1: a turn')
    """
    succeeded, paid = _succeeded(turn.case.messages)
    value, category, notes = (
        _of_calls(turn, succeeded, paid < paid_turns) if turn.calls else _of_words(turn, answer if succeeded else 0.0)
    )
    return Reward(value - turn_cost, category, "; ".join((*notes, f"{-turn_cost:+g}: a turn")))


def _of_calls(turn: AnsweredTurn, succeeded: Sequence[Call], pays: bool) -> tuple[float, str, list[str]]:
    """Value, category and explanation of a turn's calls, of which those that ``succeeded`` before earn nothing."""
    before = set(map(_known_as, succeeded))
    values: list[float] = []
    notes: list[str] = []
    worst = "success"
    for call, result in zip(turn.calls, turn.results, strict=True):
        found = find_error(result, "paper")
        if found:
            name, value = found.category.value, COSTS[found.category]
            if worst in ("success", "repeat") or value <= min(values):
                worst = name
        elif _known_as(call) in before:
            name, value = "repeat", 0.0
            worst = name if worst == "success" else worst
        else:
            name, value = "success", SUCCESS if pays else 0.0
            before.add(_known_as(call))
        values.append(value)
        notes.append(f"{value:+g} {call.name}: {name}")
    return sum(values) / len(values), worst, notes


def _of_words(turn: AnsweredTurn, worth: float) -> tuple[float, str, list[str]]:
    """The same of an answer without calls. Whether it is a good one, no tool can say."""
    if not turn.finished:
        return 0.0, "no_call", ["+0: cut off"]
    offered = offered_tools(turn.case)
    fault = uncalled_for(turn.text, parse_answer(turn.text, offered.values()), offered)
    if fault:
        return 0.0, fault.category, [f"+0: {fault.detail}"]
    return worth, "no_call", [f"{worth:+g}: an answer in words"]


def _succeeded(messages: Sequence[Message]) -> tuple[list[Call], int]:
    """The calls since the user's last words that succeeded, and in how many turns there were such."""
    start = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    found = [
        place
        for index, place in pairs(messages).call_of.items()
        if place[0] > start and not find_error(messages[index].content, "paper")
    ]
    return [messages[index].tool_calls[number] for index, number in found], len({index for index, _ in found})


def _known_as(call: Call) -> Hashable:
    """The same for calls of one tool with the same arguments."""
    return call.name, canonical(call.arguments)
