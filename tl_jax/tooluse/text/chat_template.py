"""Any model's own chat template as a renderer, with spans found by experiment instead of by searching.

A template is a black box. To learn where it puts a value, the conversation is rendered again with that one value
replaced by a sentinel; the text before and after the sentinel is then the text before and after the value. What the
model has to write in a turn is what the template adds to the prompt. A template must therefore only ever append (the
text up to a turn must be a prefix of the whole), which is also what training and generation need in order to agree; one
that rewrites the past raises `RenderError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from tl_jax.tooluse.prefixes import common_prefix
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.text.spans import Apply, CallSpan, Rendered, RenderError, Span, TurnSpan
from tl_jax.tooluse.text.template_input import ANY_ID, NINE, template_messages, template_tool


class ChatTemplateRenderer:
    """Writes conversations with ``apply``, a model's chat template.

    The text of an assistant message with calls may be missing from the result (Llama 3.1's template drops it); any
    other text or argument that the template leaves out raises `RenderError`.
    """

    def __init__(self, apply: Apply, name: str = "chat") -> None:
        self.name = name
        self._apply = apply

    def render(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._conversation(tools, messages, generation=False).rendered()

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._conversation(tools, messages, generation=True).rendered()

    def answer(self, calls: Sequence[Call], content: str = "") -> str:
        rendered = self.render((), [Message("user", "."), Message("assistant", content, tuple(calls))])
        return _cut(rendered.text, rendered.turns[0].answer)

    def _conversation(self, tools: Sequence[Tool], messages: Sequence[Message], generation: bool) -> _Conversation:
        return _Conversation(self._apply, self._closer, tools, messages, generation, self._ids)

    @cached_property
    def _ids(self) -> re.Pattern[str]:
        """The ids of calls that the template takes: Mistral's refuse all but those of nine letters and digits."""
        call, result = Call("f", {"a": 1}, id="call_1"), Message("tool", ".", call_id="call_1")
        messages = [Message("user", "."), Message("assistant", "", (call,)), result]
        try:
            self._apply(template_messages(messages, ANY_ID), None, False)
        except Exception:  # a template is a program and may raise anything
            return NINE
        return ANY_ID

    @cached_property
    def _closer(self) -> str:
        """What the template writes after an assistant message: a terminator such as ``<|im_end|>``, or only blanks."""
        sentinel = "1000000000"
        messages = [Message("user", "."), Message("assistant", sentinel)]
        text = _Conversation(self._apply, "", (), messages, generation=False).text
        return text.rpartition(sentinel)[2]


@dataclass
class _Conversation:
    """One conversation, its text, and experiments with it."""

    apply: Apply
    closer: str
    tools: Sequence[Tool]
    messages: Sequence[Message]
    generation: bool
    ids: re.Pattern[str] = ANY_ID
    _written: dict[int, str] = field(default_factory=dict, init=False)

    @cached_property
    def text(self) -> str:
        return self._write(self.messages, self.generation)

    def rendered(self) -> Rendered:
        if not self.messages:
            raise RenderError("there is no message to render")
        turns = [self._turn(index) for index, message in enumerate(self.messages) if message.role == "assistant"]
        calls = [call for turn in turns for call in turn.calls]
        untrusted = [self._tool_block()] if self.tools else []
        untrusted += [span for spans in self._contents for span in spans]
        untrusted += [span for call in calls for span in (call.name, *call.arguments.values())]
        messages = tuple(pairwise(self._starts(turns)))
        return Rendered(self.text, messages, tuple(sorted(untrusted)), tuple(turns), closed_by_eos=False)

    def _starts(self, turns: Sequence[TurnSpan]) -> list[int]:
        """Where each message begins, and where the last one ends.

        A message ends where the text without the later ones does. Where these change its end (a template that closes
        several tool results at once), or the text without them is none (only a system message), it ends with its own
        words.
        """
        answer_ends = {turn.message: turn.answer[1] for turn in turns}
        starts = [self._contents[0][0][0] if self._contents[0] else 0]
        for index, spans in enumerate(self._contents):
            has_text = any(message.role != "system" for message in self.messages[: index + 1])
            if has_text and self.text.startswith(self._upto(index)):
                end = len(self._upto(index))
            else:
                end = answer_ends.get(index, spans[-1][1] if spans else 0)
            starts.append(max(end, starts[-1]))
        return starts

    @cached_property
    def _contents(self) -> list[tuple[Span, ...]]:
        """Where the text of each message stands; a template may write it several times, or not at all beside calls."""
        return [self._content(index, message) for index, message in enumerate(self.messages)]

    def _content(self, index: int, message: Message) -> tuple[Span, ...]:
        if not message.content.strip():
            return ()
        spans = self._find(self.text, self.messages, index, replace(message, content=self.sentinel), self.generation)
        if not spans and not message.tool_calls:
            raise RenderError(f"the chat template drops the text of message {index} ({message.role})")
        return spans

    def _turn(self, index: int) -> TurnSpan:
        prompt, upto = self._write(self.messages[:index], True), self._upto(index)
        start, end = len(prompt), self._answer_end(index, upto)
        if not upto.startswith(prompt) or not self.text.startswith(upto[:end]) or end < start:
            raise RenderError(
                f"the chat template rewrites what precedes message {index}: a model would be trained on another prompt "
                "than it answers; use another template or the format 'paper'"
            )
        stop = self.closer.strip()
        has_stop = stop and self.text.startswith(stop, end)
        return TurnSpan(
            index, (start, end), self._calls(index, upto, start, end), (end, end + len(stop)) if has_stop else None
        )

    def _answer_end(self, index: int, upto: str) -> int:
        """Where the terminator of the turn that ends the text ``upto`` begins."""
        stop = self.closer.strip()
        body = upto.rstrip() if stop else upto
        if not body.endswith(stop or self.closer):
            raise RenderError(
                f"cannot tell where the answer of message {index} ends: the chat template ends a text with "
                f"{self.closer!r}, but this turn with {upto[-40:]!r}"
            )
        return len(body) - len(stop or self.closer)

    def _calls(self, index: int, upto: str, start: int, end: int) -> tuple[CallSpan, ...]:
        message, spans = self.messages[index], []
        content = self._contents[index]
        position = content[-1][1] if content else start
        for number, call in enumerate(message.tool_calls):
            position += len(upto[position:end]) - len(upto[position:end].lstrip())
            call_end = self._call_end(index, number, upto, end)
            name = self._part(index, number, upto, replace(call, name=self.sentinel), "the name")
            arguments = {
                key: self._part(index, number, upto, _with_argument(call, key, int(self.sentinel)), f"argument {key!r}")
                for key in call.arguments
            }
            spans.append(CallSpan((position, call_end), name, arguments))
            position = call_end
        return tuple(spans)

    def _call_end(self, index: int, number: int, upto: str, end: int) -> int:
        """Where call ``number`` ends: how far the turn is the same when it makes no further call."""
        message = self.messages[index]
        if number == len(message.tool_calls) - 1:
            return end
        shorter = replace(message, tool_calls=message.tool_calls[: number + 1])
        text = self._write([*self.messages[:index], shorter])
        return common_prefix(upto, text[: self._answer_end(index, text)])

    def _part(self, index: int, number: int, upto: str, call: Call, what: str) -> Span:
        """Where the name or argument stands that ``call`` has a sentinel for."""
        message = self.messages[index]
        calls = (*message.tool_calls[:number], call, *message.tool_calls[number + 1 :])
        spans = self._find(upto, self.messages[: index + 1], index, replace(message, tool_calls=calls))
        if not spans:
            raise RenderError(f"the chat template does not write {what} of call {number} in message {index}")
        return spans[0]

    def _tool_block(self) -> Span:
        """The part of the text that depends on which tools there are."""
        stand_in = replace(self, tools=(Tool(self.sentinel),)).text
        if stand_in == self.text:
            raise RenderError("the chat template does not show the tools; use another template or the format 'paper'")
        start = common_prefix(self.text, stand_in)
        return start, len(self.text) - min(common_prefix(self.text[::-1], stand_in[::-1]), len(self.text) - start)

    def _find(
        self, text: str, messages: Sequence[Message], index: int, changed: Message, generation: bool = False
    ) -> tuple[Span, ...]:
        """Where the value stands in ``text`` that message ``changed`` has a sentinel for; nowhere or repeatedly too."""
        pieces = self._write([*messages[:index], changed, *messages[index + 1 :]], generation).split(self.sentinel)
        times = len(pieces) - 1
        if not times:
            return ()
        length, rest = divmod(len(text) - sum(map(len, pieces)), times)
        spans = [(end, end + length) for end in _ends(pieces, length)][:-1]
        if rest or length < 0 or text != _assembled(text, pieces, spans):
            raise RenderError(f"the chat template writes message {index} in a way that depends on what it says")
        return tuple(spans)

    def _upto(self, index: int) -> str:
        """The conversation as it ends with message ``index``."""
        if index not in self._written:
            self._written[index] = self._write(self.messages[: index + 1])
        return self._written[index]

    def _write(self, messages: Sequence[Message], generation: bool = False) -> str:
        tools = [template_tool(tool) for tool in self.tools] or None
        try:
            return self.apply(template_messages(messages, self.ids), tools, generation)
        except Exception as error:  # a template is a program and may raise anything
            raise RenderError(f"the chat template refuses these messages: {error}") from error

    @cached_property
    def sentinel(self) -> str:
        """Digits that the text does not contain. No end of them is a beginning, so they cannot merge with the text."""
        digits = "1" + "0" * 9
        while digits in self.text:
            digits += "0"
        return digits


def _with_argument(call: Call, key: str, value: Any) -> Call:
    return replace(call, arguments={**call.arguments, key: value})


def _ends(pieces: Sequence[str], length: int) -> Iterator[int]:
    """Where each piece ends when ``length`` characters stand between two of them."""
    position = 0
    for piece in pieces:
        position += len(piece)
        yield position
        position += length


def _assembled(text: str, pieces: Sequence[str], spans: Sequence[Span]) -> str:
    """The pieces with the spans of ``text`` between them."""
    return "".join(piece + _cut(text, span) for piece, span in zip(pieces, [*spans, (0, 0)], strict=True))


def _cut(text: str, span: Span) -> str:
    return text[span[0] : span[1]]
