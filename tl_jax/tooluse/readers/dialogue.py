"""Building a conversation out of what other shapes than ours say: blocks, items, parts and speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.fields import described
from tl_jax.tooluse.readers.message_fields import SPEAKERS, unless_cut_off
from tl_jax.tooluse.readers.messages import OF_ANOTHER_FORMAT, TURNS, finished, is_own, with_system
from tl_jax.tooluse.readers.results import Called
from tl_jax.tooluse.readers.texts import REORDERED, heard, may_be_result, structured
from tl_jax.tooluse.readers.thoughts import apart
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory


@dataclass
class AssistantTurn:
    """What one assistant turn says, part by part, in the order of the file."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    refusal: str | None = None
    _called: int = field(default=0, init=False)
    """How many calls stand before the last text."""

    @property
    def says_something(self) -> bool:
        """Whether any part was added."""
        return bool(self.texts or self.reasoning or self.calls or self.refusal is not None)

    def text(self, text: str) -> None:
        """One more piece of the answer; one that a call parts from the text before is a line of its own."""
        if text.strip():
            if self.calls:
                remark(REORDERED)
            if len(self.calls) > self._called and any(map(str.strip, self.texts)):
                text = f"\n{text}"
            self._called = len(self.calls)
        self.texts.append(text)

    def message(self, weight: float | None = None, name: str | None = None) -> Message:
        """The turn as a message."""
        return Message(
            "assistant",
            "".join(self.texts),
            tuple(self.calls),
            name,
            weight,
            reasoning="\n".join(text for text in self.reasoning if text) or None,
            refusal=self.refusal,
        )


@dataclass
class Dialogue:
    """The messages of a row, one after another."""

    messages: list[Message] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Where each message that was added begins in the row."""
    called: Called = field(default_factory=Called)
    """The calls that wait for results."""
    answers: dict[str, str] = field(default_factory=dict)
    """Where each id of a result stands for the first time, see `finished`."""

    def add(self, message: Message, where: str) -> None:
        """One more message, if its role may have what it has.

        Raises:
            DataError: it may not; the field is ``where``.
        """
        message.check(where)
        self.messages.append(message)
        self.places.append(where)
        self.called.note(message)
        if message.call_id is not None:
            self.answers.setdefault(message.call_id, where)

    def join(self, message: Message, where: str) -> None:
        """A message of the assistant that continues its last one, where that can be said: calls after a text or calls.

        Turns of different weights, and a text after a call, stay messages of their own.
        """
        last = self.messages[-1] if self.messages else None
        if last is None or not continues(last, message):
            self.add(message, where)
        else:
            self.messages[-1] = merged(last, message)
            self.called.note(message)

    def heard(self, role: str | None, text: str, where: str) -> bool:
        """Whether what somebody says holds results of the calls so far, which are then added, with what a user says."""
        if role not in ("user", "tool"):
            return False
        found = heard(Message("user" if role == "user" else "tool", text), self.called, self.messages)
        for message in found:
            self.add(message, where)
        return bool(found)

    def result(
        self, content: str, where: str, call_id: str | None = None, name: str | None = None, error: bool = False
    ) -> None:
        """The result of a call, whose id stands in the field ``where``."""
        self.add(Message("tool", content, name=name or None, call_id=call_id, error=error), where)

    def ended(self, about: Mapping[str, Any]) -> None:
        """Says why the last answer ended: one that was cut off is no target."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role == "assistant":
            self.messages[-1] = replace(last, weight=unless_cut_off(last.weight, about))

    def trajectory(self, around: Around, tools: Sequence[Tool], system: str, where: str) -> Trajectory:
        """The finished conversation, with the system text that stands beside it.

        Calls, tools, results and thoughts that its texts hold become structure, except in a row that we wrote.

        Raises:
            DataError: it is empty, or begins with another system text; a text cannot be read; a result has the id of no
                earlier call.
        """
        if around.own or not self.messages:
            return self.as_it_is(around, tools, system, where)
        messages = with_system([*map(apart, self.messages)], system, where)
        places = ["system"] * (len(messages) - len(self.places)) + self.places
        offered, found = structured(messages, tuple(tools), places)
        return Dialogue(list(found), answers=self.answers).as_it_is(around, offered, "", where)

    def as_it_is(self, around: Around, tools: Sequence[Tool], system: str, where: str) -> Trajectory:
        """As `trajectory`, of texts that hold words only, or were read before."""
        if not self.messages:
            raise DataError("holds no turns", field=where)
        messages = tuple(named(finished(with_system(self.messages, system, where), tools, self.answers)))
        return Trajectory(around.id, tuple(tools), messages, around.suite, around.meta)


@dataclass
class Around:
    """What a row says beside its tools and messages.

    Attributes:
        own: we wrote the row.
    """

    id: str
    suite: str
    meta: dict[str, Any]
    own: bool


def around(row: Fields, identity: str, suite: str, *also: str) -> Around:
    """Takes what a row says beside its tools and messages.

    Args:
        identity: the id of a row without one.
        suite: that of a row that does not name one.
        also: further fields that describe a row of this format, kept in ``meta`` like those that describe any.
    """
    own = is_own(row)
    name = row_id(row, identity)
    row.tell(OF_ANOTHER_FORMAT, *TURNS)
    meta = row.keep("metadata", *also) | described(row) | row.take("meta", kind=dict, default={})
    return Around(name, row.take("suite", kind=str, default=suite), meta, own)


def continues(last: Message, message: Message) -> bool:
    """Whether two messages of the assistant are one turn: a text or calls, and calls right after."""
    both = last.role == message.role == "assistant"
    return both and bool(message.tool_calls) and not message.content and last.weight == message.weight


def merged(last: Message, message: Message) -> Message:
    """Two messages of the assistant as one turn."""
    reasoning = "\n".join(text for text in (last.reasoning, message.reasoning) if text) or None
    return replace(last, tool_calls=last.tool_calls + message.tool_calls, reasoning=reasoning)


def may_answer(turn: Any) -> bool:
    """Whether a row's next turn, which is yet to be read, may be the result of a call."""
    if not isinstance(turn, dict):
        return False
    speaker, text = turn.get("from") or turn.get("role"), turn.get("value") or turn.get("content")
    role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    return role == "tool" or (isinstance(text, str) and may_be_result(role, text))
