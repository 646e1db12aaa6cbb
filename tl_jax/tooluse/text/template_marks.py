"""Where values stand in a text that a program wrote, which can only be asked to write it again with other values.

Two more texts tell. In the first, every string has a mark before and a mark after it: taken out again, they must leave
the text as it was, or the program looks at what it writes. In the second every argument's value is a number of its own;
what stands between two of them is the same in both texts.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from tl_jax.tooluse.schema import Call, Message
from tl_jax.tooluse.text.spans import RenderError, Span


class Spot(NamedTuple):
    """A string or value of a conversation: ``speaker`` is a message's ``name``, ``name`` a call's."""

    part: Literal["content", "speaker", "name", "key", "value"]
    message: int
    call: int = 0
    key: str = ""


Spans: TypeAlias = dict[Spot, tuple[Span, ...]]
"""Every place that was looked for; a template may write it several times, or not at all."""
Write: TypeAlias = Callable[[Sequence[Message]], str]
"""Renders a conversation."""

_WORD = re.compile(r"\w+")
THOUGHT_TAGS = re.compile(r"(</?think>)")


def find(write: Write, messages: Sequence[Message], text: str, thoughts: bool = False) -> Spans:
    """Where everything that ``messages`` say stands in ``text``, which is ``write(messages)``.

    Args:
        write: the program.
        messages: of the conversation.
        text: what it writes.
        thoughts: it takes ``<think>`` tags in an assistant's text apart, and writes them itself, elsewhere or not at
            all. What stands inside and outside of them is found piece by piece, and the tags are its own.

    Raises:
        RenderError: what is written somewhere depends on what is said there.
    """
    search = _Search(write, messages, text, thoughts)
    strings, values = search.strings(places(messages)), {}
    if wanted := _values(messages):
        values = search.values(wanted) or {place: search.value(place) for place in wanted}
    return {**strings, **values}


def places(messages: Sequence[Message]) -> list[Spot]:
    """Every string that is more than blanks.

    The names of a call's arguments are in the order in which templates may sort them: their marks keep it.
    """
    found = []
    for index, message in enumerate(messages):
        found += [Spot("content", index)] if message.content.strip() else []
        found += [Spot("speaker", index)] if message.name else []
        for number, call in enumerate(message.tool_calls):
            found.append(Spot("name", index, number))
            found += [Spot("key", index, number, key) for key in sorted(call.arguments, key=str.lower)]
    return found


def _values(messages: Sequence[Message]) -> list[Spot]:
    return [
        Spot("value", index, number, key)
        for index, message in enumerate(messages)
        for number, call in enumerate(message.tool_calls)
        for key in call.arguments
    ]


class _Search:
    def __init__(self, write: Write, messages: Sequence[Message], text: str, thoughts: bool) -> None:
        self._write, self._messages, self._text, self._thoughts = write, messages, text, thoughts
        self._strings: _Marks | None = None  # all of them, where one text told everything
        self._marked = ""

    def strings(self, wanted: Sequence[Spot]) -> Spans:
        """Halves what is looked for until all of it is found: most templates need one text."""
        marks = _Marks(self._tag, self._number, wanted, thoughts=self._thoughts)
        marked = self._try(marks)
        read = None if marked is None else marks.read(marked)
        if marked is not None and read and read.text == self._text:
            if self._strings is None and list(wanted) == places(self._messages):
                self._strings, self._marked = marks, marked
            return {place: self._with_blanks(place, spans) for place, spans in read.spans.items()}
        if len(wanted) == 1:
            if wanted[0].part == "key" and _WORD.fullmatch(wanted[0].key):  # looked up by its name; it is no token
                return {wanted[0]: ()}
            raise _depends(wanted[0])
        half = len(wanted) // 2
        return {**self.strings(wanted[:half]), **self.strings(wanted[half:])} if wanted else {}

    def values(self, wanted: Sequence[Spot]) -> Spans | None:
        """All of them by one more text; None where it cannot tell."""
        if self._strings is None:
            return None
        marks = replace(self._strings, values=wanted)
        numbered = self._try(marks)
        return None if numbered is None else marks.between(self._marked, numbered)

    def value(self, place: Spot) -> tuple[Span, ...]:
        """One of them by a text of its own.

        Raises:
            RenderError: it depends on what is said there.
        """
        marks = _Marks(self._tag, self._number, (), values=(place,))
        pieces = (self._try(marks) or "").split(f"{self._number}{0:06d}")
        times = len(pieces) - 1
        if not times:
            return ()
        length, rest = divmod(len(self._text) - sum(map(len, pieces)), times)
        spans, position = [], 0
        for piece in pieces[:-1]:
            spans.append((position + len(piece), position + len(piece) + length))
            position = spans[-1][1]
        values = [self._text[start:end] for start, end in spans]
        if rest or length < 0 or self._text != "".join(map("".join, zip(pieces, [*values, ""], strict=True))):
            raise _depends(place)
        return tuple(spans)

    def _try(self, marks: _Marks) -> str | None:
        try:
            return self._write([marks.message(index, message) for index, message in enumerate(self._messages)])
        except RenderError:  # the template takes no such value
            return None

    def _with_blanks(self, place: Spot, spans: Iterable[Span]) -> tuple[Span, ...]:
        """Marks stand inside the blanks around a text, which a template may leave out."""
        message = self._messages[place.message]
        if place.part != "content" or (self._thoughts and thinks(message)):
            return tuple(spans)
        content = message.content
        before = content[: len(content) - len(content.lstrip())]
        after = content[len(content.rstrip()) :]
        return tuple((self._start(start, before), self._end(end, after)) for start, end in spans)

    def _start(self, start: int, blanks: str) -> int:
        for written in (blanks, json.dumps(blanks)[1:-1]):
            if self._text.endswith(written, 0, start):
                return start - len(written)
        return start

    def _end(self, end: int, blanks: str) -> int:
        for written in (blanks, json.dumps(blanks)[1:-1]):
            if self._text.startswith(written, end):
                return end + len(written)
        return end

    @cached_property
    def _tag(self) -> str:
        """What marks begin with: letters and digits that the text does not contain, and that cannot overlap with it."""
        tag = "Zq7"
        while tag in self._text:
            tag += "7"
        return tag

    @cached_property
    def _number(self) -> str:
        """What numbers for values begin with; likewise."""
        digits = "10203040"
        while digits in self._text:
            digits += "0"
        return digits


class _Read(NamedTuple):
    text: str
    spans: Spans


@dataclass(frozen=True)
class _Marks:
    """Puts marks into messages, and finds them in a text.

    Args:
        tag: begins every mark.
        digits: begins every number.
        strings: that get marks.
        values: that become numbers.
        thoughts: what stands inside and outside of ``<think>`` tags of an assistant has marks of its own.
    """

    tag: str
    digits: str
    strings: Sequence[Spot]
    values: Sequence[Spot] = ()
    thoughts: bool = False

    def message(self, index: int, message: Message) -> Message:
        calls = tuple(self._call(index, number, call) for number, call in enumerate(message.tool_calls))
        content = self._content(Spot("content", index), message)
        name = None if message.name is None else self._around(Spot("speaker", index), message.name)
        return replace(message, content=content, name=name, tool_calls=calls)

    def read(self, marked: str) -> _Read | None:
        """The text without marks, and where they were; None where one of a pair lacks, or pairs are nested."""
        spans: dict[Spot, list[Span]] = {place: [] for place in self.strings}
        opened: tuple[int, int] | None = None
        removed = 0
        for mark in self._pattern.finditer(marked):
            number, where = int(mark[1]), mark.start() - removed
            removed += len(mark[0])
            if mark[2] == "S" and opened is None:
                opened = number, where
            elif mark[2] == "E" and opened is not None and opened[0] == number:
                spans[self.strings[number]].append((opened[1], where))
                opened = None
            else:
                return None
        if opened is not None:
            return None
        return _Read(self._pattern.sub("", marked), {place: tuple(found) for place, found in spans.items()})

    def between(self, marked: str, numbered: str) -> Spans | None:
        """Where values stand in the text that ``marked`` is without its marks; ``numbered`` has numbers in their place.

        Between two values there must be a mark, which tells where the one ends.
        """
        pieces = re.split(rf"{self.digits}(\d{{6}})", numbered)
        if not marked.startswith(pieces[0]):
            return None
        spans: dict[Spot, list[Span]] = {place: [] for place in self.values}
        position = len(pieces[0])
        for count, (number, piece) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True), 1):
            if self.tag in piece:
                end = marked.find(self.tag, position) - piece.index(self.tag)
            elif 2 * count + 1 == len(pieces):
                end = len(marked) - len(piece)
            else:
                return None
            if end < position or not marked.startswith(piece, end):
                return None
            spans[self.values[int(number)]].append((position, end))
            position = end + len(piece)
        if position != len(marked):
            return None
        plain = self._plain_positions(marked)
        return {place: tuple((plain(start), plain(end)) for start, end in found) for place, found in spans.items()}

    def _plain_positions(self, marked: str) -> Callable[[int], int]:
        """Positions in the marked text -> positions without the marks."""
        starts, removed = [0], [0]
        for mark in self._pattern.finditer(marked):
            starts.append(mark.end())
            removed.append(removed[-1] + len(mark[0]))
        return lambda position: position - removed[bisect_right(starts, position) - 1]

    def _call(self, index: int, number: int, call: Call) -> Call:
        arguments = {
            self._around(Spot("key", index, number, key), key): (
                int(f"{self.digits}{self._value_numbers[place]:06d}")
                if (place := Spot("value", index, number, key)) in self._value_numbers
                else value
            )
            for key, value in call.arguments.items()
        }
        return replace(call, name=self._around(Spot("name", index, number), call.name), arguments=arguments)

    def _content(self, place: Spot, message: Message) -> str:
        if place not in self._numbers:
            return message.content
        parts = THOUGHT_TAGS.split(message.content) if self.thoughts and thinks(message) else [message.content]
        return "".join(part if THOUGHT_TAGS.fullmatch(part) else self._inside(place, part) for part in parts)

    def _inside(self, place: Spot, text: str) -> str:
        """The text with its marks inside the blanks around it."""
        core = text.strip()
        return text.replace(core, self._around(place, core), 1) if core else text

    def _around(self, place: Spot, text: str) -> str:
        if place not in self._numbers:
            return text
        number = self._numbers[place]
        return f"{self.tag}{number:06d}S{text}{self.tag}{number:06d}E"

    @cached_property
    def _numbers(self) -> Mapping[Spot, int]:
        return {place: number for number, place in enumerate(self.strings)}

    @cached_property
    def _value_numbers(self) -> Mapping[Spot, int]:
        return {place: number for number, place in enumerate(self.values)}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"{self.tag}(\d+)([SE])")


def thinks(message: Message) -> bool:
    """Whether an assistant's text says what is thought."""
    return message.role == "assistant" and "</think>" in message.content


def _depends(place: Spot) -> RenderError:
    return RenderError(f"the chat template writes message {place.message} in a way that depends on what it says")
