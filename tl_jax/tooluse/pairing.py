"""Which call a tool message answers: by its id, or else by its tool's name, or else by its position."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from tl_jax.tooluse.schema import Call, Message

_Place: TypeAlias = tuple[int, int]
"""Index of a call's message, and its number within it."""
_Known: TypeAlias = tuple[str | None, str | None]
"""What is known of a call: its id and its name."""


@dataclass
class Pairs:
    """The calls and results of a conversation. A call is (index of its message, number within it)."""

    call_of: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Index of a tool message -> the call that it answers. A message that answers none is not in it."""
    guessed: int = 0
    """Results whose id and name several open calls had, so that their position told."""


def pairs(messages: Sequence[Message]) -> Pairs:
    """Finds the call of every tool message.

    An id tells, wherever the result stands: in another order, after a user's words, after further calls. Without one,
    and where several calls that wait for a result have it, the name tells: a result answers the first waiting call of
    its tool. Where neither does, results answer the waiting calls in their order. Calls of messages right after one
    another wait together, until there are further calls; and if some were answered before a user's words, the others
    wait no longer. One more result right after another one, when no call waits, belongs to the same call.

    Example:
        >>> from tl_jax.tooluse.schema import Call
        >>> calls = (Call("f", id="a"), Call("g", id="b"))
        >>> messages = [Message("assistant", "", calls), *(Message("tool", call_id=name) for name in ("b", "a"))]
        >>> pairs(messages).call_of
        {1: (0, 1), 2: (0, 0)}
    """
    found = Pairs()
    calls = _Calls()
    asked = 0
    for index, message in enumerate(messages):
        if message.tool_calls:
            if index and messages[index - 1].role != "assistant":
                calls.wait_no_longer()
            for number, call in enumerate(message.tool_calls):
                calls.add((index, number), call)
            asked = calls.waiting
        elif message.role == "tool":
            found.guessed += calls.guesses(message)
            answered = calls.of(message)
            if answered is None:
                answered = found.call_of.get(index - 1)
            if answered is not None:
                found.call_of[index] = answered
                calls.answer(answered)
        elif message.role != "assistant" and calls.waiting < asked:
            calls.wait_no_longer()
    return found


class _Calls:
    """The calls of a conversation so far. Everything but `wait_no_longer` takes the same time however many there are:
    a recorded turn may make thousands."""

    def __init__(self) -> None:
        self._waiting: dict[_Known, OrderedDict[_Place, None]] = {}
        self._unanswered: dict[str, OrderedDict[_Place, None]] = {}
        self._last: dict[str, _Place] = {}
        self._call: dict[_Place, Call] = {}

    @property
    def waiting(self) -> int:
        """How many calls wait for their results."""
        return len(self._waiting.get((None, None), ()))

    def add(self, place: _Place, call: Call) -> None:
        """One more call, which waits for its result."""
        self._call[place] = call
        for known in _known(call):
            self._waiting.setdefault(known, OrderedDict())[place] = None
        if call.id is not None:
            self._last[call.id] = place
            self._unanswered.setdefault(call.id, OrderedDict())[place] = None

    def guesses(self, result: Message) -> bool:
        """Whether only the position tells which of the calls with its id a result answers."""
        return result.call_id in self._last and len(self._may_answer(result)) > 1

    def of(self, result: Message) -> _Place | None:
        """The call that a result answers by its id, or else by its name, or its position; None if no call waits."""
        if places := self._may_answer(result):
            return next(iter(places))
        if result.call_id is None or result.call_id not in self._last:
            return None
        late = self._unanswered[result.call_id]
        return next(reversed(late)) if late else self._last[result.call_id]

    def _may_answer(self, result: Message) -> OrderedDict[_Place, None]:
        """The waiting calls with the id of a result, if any call had it, and its name, if one of them has it."""
        id = result.call_id if result.call_id in self._last else None
        return self._waiting.get((id, result.name)) or self._waiting.get((id, None)) or OrderedDict()

    def answer(self, place: _Place) -> None:
        """The call has a result."""
        call = self._call[place]
        for known in _known(call):
            self._waiting.get(known, OrderedDict()).pop(place, None)
        if call.id is not None:
            self._unanswered[call.id].pop(place, None)

    def wait_no_longer(self) -> None:
        """What comes now answers none of the calls before by its name or position."""
        self._waiting = {}


def identified(messages: Sequence[Message]) -> tuple[Sequence[Message], list[str]]:
    """The messages, with calls that have no id under that of their results; and ids that are those of no earlier call.

    A call is given an id if no other one without any may be meant: all of its turn have results, or the names tell.

    Example:
        >>> from tl_jax.tooluse.schema import Call
        >>> (turn, _), unknown = identified([Message("assistant", "", (Call("f"),)), Message("tool", call_id="a")])
        >>> turn.tool_calls[0].id, unknown
        ('a', [])
    """
    call_of, known = pairs(messages).call_of, set[str]()
    given, unknown = dict[_Place, str](), list[str]()
    for index, message in enumerate(messages):
        known.update(call.id for call in message.tool_calls if call.id is not None)
        if message.call_id is None or message.call_id in known:
            continue
        place = call_of.get(index, (index, 0))
        calls = messages[place[0]].tool_calls
        if (
            place[1] < len(calls)
            and calls[place[1]].id is None
            and given.get(place, message.call_id) == message.call_id
        ):
            given[place] = message.call_id
        else:
            unknown.append(message.call_id)
    result = list(messages)
    for turn in dict.fromkeys(turn for turn, _ in given):
        of_turn = {number: id for (index, number), id in given.items() if index == turn}
        calls = messages[turn].tool_calls
        named = [call.name for number, call in enumerate(calls) if call.id is None and number not in of_turn]
        unknown += [id for number, id in of_turn.items() if calls[number].name in named]
        made = (replace(call, id=of_turn.get(number, call.id)) for number, call in enumerate(calls))
        result[turn] = replace(messages[turn], tool_calls=tuple(made))
    return result if given else messages, unknown


def _known(call: Call) -> set[_Known]:
    """All that a result may know of the call that it answers."""
    return {(id, name) for id in (None, call.id) for name in (None, call.name)}


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


def in_order(messages: Sequence[Message], paired: Pairs) -> tuple[Message, ...]:
    """The conversation with the results that follow one another in the order of their calls.

    Formats without ids and names can only say which result is whose by this order.

    Args:
        paired: the `pairs` of these messages.
    """
    call_of = paired.call_of
    ordered: list[Message] = []
    for is_tool, run in groupby(enumerate(messages), key=lambda item: item[1].role == "tool"):
        found = list(run)
        if is_tool and all(index in call_of for index, _ in found):
            found.sort(key=lambda item: call_of[item[0]])
        ordered += map(itemgetter(1), found)
    return tuple(ordered)


def named(messages: Iterable[Message], paired: Pairs | None = None, by_id: bool | None = None) -> list[Message]:
    """The messages, with results that do not say their tool named after the call that they answer.

    Args:
        paired: the `pairs` of these messages, if they are known.
        by_id: only results that have an id, or only those that have none; None: all.
    """
    result = list(messages)
    for index, (turn, number) in (paired or pairs(result)).call_of.items():
        found = result[index]
        if found.name is None and by_id in (None, found.call_id is not None):
            result[index] = replace(found, name=result[turn].tool_calls[number].name)
    return result
