"""Which call a tool message answers: by its id, and by its position where ids cannot tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from tl_jax.tooluse.schema import Message


@dataclass
class Pairs:
    """The calls and results of a conversation. A call is (index of its message, number within it)."""

    call_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Index of a tool message -> the call that it answers. A message that answers none is not in it."""
    guessed: int = 0
    """Results whose id several open calls had, so that their position told."""


def pairs(messages: Sequence[Message]) -> Pairs:
    """Finds the call of every tool message.

    An id tells, wherever the result stands: in another order, after a user's words, after further calls. Without one,
    and where several calls that wait for a result have it, results answer the waiting calls in their order. Calls of
    messages right after one another wait together, until there are further calls; and if some were answered before a
    user's words, the others wait no longer. One more result right after another one, when no call waits, belongs to the
    same call.

    Example:
        >>> from tl_jax.tooluse.schema import Call
        >>> calls = (Call("f", id="a"), Call("g", id="b"))
        >>> messages = [Message("assistant", "", calls), *(Message("tool", call_id=name) for name in ("b", "a"))]
        >>> pairs(messages).call_of
        {1: (0, 1), 2: (0, 0)}
    """
    found = Pairs()
    waiting: list[tuple[int, int]] = []
    asked = 0
    by_id: dict[str, list[tuple[int, int]]] = {}
    for index, message in enumerate(messages):
        if message.tool_calls:
            if index and messages[index - 1].role != "assistant":
                waiting = []
            made = [(index, number) for number in range(len(message.tool_calls))]
            waiting = waiting + made
            asked = len(waiting)
            for place, call in zip(made, message.tool_calls, strict=True):
                if call.id is not None:
                    by_id.setdefault(call.id, []).append(place)
        elif message.role == "tool":
            answered = _answered(message, waiting, by_id, found)
            if answered is None:
                answered = found.call_of.get(index - 1)
            if answered is not None:
                found.call_of[index] = answered
                waiting = [place for place in waiting if place != answered]
        elif message.role != "assistant" and len(waiting) < asked:
            waiting = []
    return found


def answers(messages: Sequence[Message]) -> dict[int, list[int]]:
    """Index of each turn -> those of the tool messages that answer it.

    Tool messages right after a turn that makes no call, or none that waits, belong to it: its call may be text.
    """
    call_of = pairs(messages).call_of
    found: dict[int, list[int]] = {}
    turn = None
    for index, message in enumerate(messages):
        if message.role == "assistant":
            turn = index
        elif message.role != "tool":
            turn = None
        answered = call_of[index][0] if index in call_of else turn
        if message.role == "tool" and answered is not None:
            found.setdefault(answered, []).append(index)
    return found


def _answered(
    message: Message, waiting: list[tuple[int, int]], by_id: dict[str, list[tuple[int, int]]], found: Pairs
) -> tuple[int, int] | None:
    """The call of a tool message; None if no call waits for it."""
    same = by_id.get(message.call_id, []) if message.call_id is not None else []
    if not same:
        return waiting[0] if waiting else None
    open_ = [place for place in same if place in waiting]
    found.guessed += len(open_) > 1
    if open_:
        return open_[0]
    answered = set(found.call_of.values())
    late = [place for place in same if place not in answered]
    return (late or same)[-1]


def in_order(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with the results that follow one another in the order of their calls.

    Formats without ids can only say which result is whose by this order.
    """
    call_of = pairs(messages).call_of
    ordered: list[Message] = []
    for is_tool, run in groupby(enumerate(messages), key=lambda item: item[1].role == "tool"):
        found = list(run)
        if is_tool and all(index in call_of for index, _ in found):
            found.sort(key=lambda item: call_of[item[0]])
        ordered += map(itemgetter(1), found)
    return tuple(ordered)


def named(messages: Iterable[Message]) -> list[Message]:
    """The messages, with results that do not say their tool named after the call that they answer."""
    result = list(messages)
    for index, (turn, number) in pairs(result).call_of.items():
        if result[index].name is None:
            result[index] = replace(result[index], name=result[turn].tool_calls[number].name)
    return result


def by_name(messages: Sequence[Message]) -> list[Message]:
    """Results without ids in the order of their calls, as their names tell it.

    Only results of a turn all of whose calls have different names, and no ids, are moved.
    """
    result = list(messages)
    for index, turn in enumerate(messages):
        names = [call.name for call in turn.tool_calls]
        end = index + 1
        while end < len(messages) and messages[end].role == "tool":
            end += 1
        found = messages[index + 1 : end]
        without_ids = all(message.call_id is None for message in found)
        if len(names) > 1 and len(set(names)) == len(names) and without_ids:
            answered = [message.name for message in found]
            if len(set(answered)) == len(answered) and all(name in names for name in answered):
                result[index + 1 : end] = sorted(found, key=lambda message: names.index(message.name or ""))
    return result
