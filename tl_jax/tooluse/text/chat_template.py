"""Any model's own chat template as a renderer, with spans found by experiment instead of by searching.

A template is a black box. Where it puts a value, `tl_jax.tooluse.text.template_marks` finds out by having the
conversation written again with marks in it. What the model has to write in a turn is what the template adds to the
prompt.

A template that only appends (the text up to a turn is a prefix of the whole) is learnt from in one pass. One that
rewrites the past, such as Qwen3's, which forgets what was thought before the last question, is learnt from turn by turn
(`ChatTemplateRenderer.turn`): each turn is the answer to the prompt that the model is given for it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise

from tl_jax.tooluse.prefixes import common_prefix
from tl_jax.tooluse.schema import Call, Message, Tool
from tl_jax.tooluse.text.spans import Apply, CallSpan, Rendered, RenderError, Span, TurnSpan
from tl_jax.tooluse.text.template_facts import KnownTemplate, stand_in
from tl_jax.tooluse.text.template_marks import THOUGHT_TAGS, Spans, Spot, find

_THOUGHT = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"<think>\s*\Z")
_NO_THOUGHT = re.compile(r"(?:<think>\s*)?</think>\s*\Z")
_END_OF_THOUGHT = "\n</think>\n\n"
MANY_RESULTS = 50
"""Results in a row of which each has a text of its own written, which tells where it ends."""


class ChatTemplateRenderer:
    """Writes conversations with ``apply``, a model's chat template.

    The text of an assistant message with calls may be missing from the result (Llama 3.1's template drops it) and is
    then among `Rendered.dropped`; any other text or argument that the template leaves out raises `RenderError`.
    """

    def __init__(self, apply: Apply, name: str = "chat") -> None:
        self.name = name
        self._apply = apply

    def render(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._conversation(tools, messages, generation=False).rendered()

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        return self._conversation(tools, messages, generation=True).rendered()

    def turn(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        whole = self._conversation(tools, messages, generation=False)
        rendered, last = whole.rendered(), len(messages) - 1
        if last not in rendered.lost:
            return rendered
        return whole.after_prompt(self.prompt(tools, messages[:-1]))

    def answer(self, calls: Sequence[Call], content: str = "") -> str:
        messages = [Message("user", "."), Message("assistant", content, tuple(calls))]
        try:
            rendered = self.turn([stand_in(call) for call in calls], messages)
        except RenderError:  # a template that writes calls, but no tools
            rendered = self.turn((), messages)
        return _cut(rendered.text, rendered.turns[-1].answer)

    def _conversation(self, tools: Sequence[Tool], messages: Sequence[Message], generation: bool) -> _Conversation:
        template = self._with_tools if tools else self._without_tools
        return _Conversation(template, tools, messages, generation)

    @cached_property
    def _with_tools(self) -> KnownTemplate:
        return KnownTemplate.of(self._apply, (Tool("f"),))

    @cached_property
    def _without_tools(self) -> KnownTemplate:
        return KnownTemplate.of(self._apply, ())


@dataclass
class _Conversation:
    """One conversation, its text, and experiments with it."""

    template: KnownTemplate
    tools: Sequence[Tool]
    messages: Sequence[Message]
    generation: bool
    _written: dict[int, str] = field(default_factory=dict, init=False)

    @cached_property
    def text(self) -> str:
        return self.template.write(self.tools, self.messages, self.generation)

    @cached_property
    def spans(self) -> Spans:
        def write(messages: Sequence[Message]) -> str:
            return self.template.write(self.tools, messages, self.generation)

        return find(write, self.messages, self.text, self.template.thoughts)

    def rendered(self) -> Rendered:
        if not self.messages:
            raise RenderError("there is no message to render")
        untrusted = [self._tool_block()] if self.tools else []
        untrusted += [span for spans in self.spans.values() for span in spans]
        missing = self._missing()
        if missing and self.generation:
            raise RenderError(next(iter(missing.values())))
        found = {
            index: next((why for before, why in missing.items() if before <= index), None) or self._turn(index)
            for index, message in enumerate(self.messages)
            if message.role == "assistant"
        }
        turns = tuple(turn for turn in found.values() if isinstance(turn, TurnSpan))
        return Rendered(
            self.text,
            tuple(pairwise(self._starts(turns))),
            tuple(sorted(untrusted)),
            turns,
            closed_by_eos=False,
            lost={index: turn for index, turn in found.items() if isinstance(turn, str)},
            dropped=tuple(self._dropped()),
        )

    def after_prompt(self, prompt: Rendered) -> Rendered:
        """The last message as the answer to ``prompt``, which the template does not leave as it is before an answer.

        Raises:
            RenderError: it cannot be told where the answer begins.
        """
        index = len(self.messages) - 1
        if index in (missing := self._missing()):
            raise RenderError(missing[index])
        own = [span for place, spans in self.spans.items() if place.message == index for span in spans]
        first = min((start for start, _ in own), default=len(self.text))
        earlier = [end for place, found in self.spans.items() if place.message < index for _, end in found]
        before = max((end for end in earlier if end <= first), default=0)
        asked = prompt.text[max((end for _, end in prompt.untrusted), default=0) :]
        found, end = self._answer_begin(asked, before, first), self._answer_end(index, self.text)
        if found is None and self._thought() and _NO_THOUGHT.search(prompt.text):
            raise RenderError(
                f"message {index} has a thought, and the chat template asks for an answer without one: leave reasoning "
                "out of data.include, or have the template think (data.chat_template_kwargs)"
            )
        if found is None or end is None or end < found[0]:
            raise RenderError(
                f"cannot tell where the answer of message {index} begins: the chat template asks for it with "
                f"{prompt.text[-40:]!r} and writes {self.text[max(first - 40, 0) : first]!r} before it; use another "
                "template or the format 'paper'"
            )
        begin, thought = found
        lead = f"{thought}{_END_OF_THOUGHT}" if thought is not None else ""
        start, shift = len(prompt.text), len(prompt.text) + len(lead) - begin
        text = prompt.text + lead + self.text[begin:]
        turn = self._turn_span(index, begin, end).shifted(shift)
        untrusted = [(one + shift, other + shift) for one, other in own if one >= begin]
        untrusted.append((start, start + len(thought or "")))
        return Rendered(
            text,
            (*prompt.messages, (prompt.messages[-1][1], len(text))),
            tuple(sorted([*prompt.untrusted, *untrusted])),
            (*prompt.turns, replace(turn, answer=(start, turn.answer[1]))),
            closed_by_eos=False,
            lost=prompt.lost,
            dropped=tuple(self._dropped()) if thought is None else (),
        )

    def _answer_begin(self, asked: str, before: int, first: int) -> tuple[int, str | None] | None:
        """Where the last message's answer begins: after what the template asks for an answer with.

        That is what stands between earlier words and its own ones: ``asked``, as in the prompt, or the template's
        usual opening, whose blanks may be other ones here. A prompt may end with ``<think>`` where the template writes
        answers without thoughts. The thought that such an answer has to close first is the second value: the message's
        own, or an empty one.
        """
        if asked and self.text.startswith(asked, before) and before + len(asked) <= first:
            return before + len(asked), None
        opening = self.template.opening
        bare, own = _OPEN_THOUGHT.sub("", opening), self._thought()
        without = opening if own else _NO_THOUGHT.sub("", opening)
        for usual, thought in ((opening, None), (bare, own), (without, None)):
            pattern = r"\s*".join(map(re.escape, usual.split()))
            if pattern and (places := [*re.finditer(pattern, self.text[before:first])]):
                begin = before + places[-1].end()
                rest = self.text[begin:first]
                blanks = len(rest) - len(rest.lstrip())
                return begin + (blanks if usual != usual.rstrip() else 0), thought
        return None

    def _thought(self) -> str:
        """What the last message's text says in ``<think>`` tags."""
        found = _THOUGHT.match(self.messages[-1].content)
        return found[1].strip() if found else ""

    def _missing(self) -> dict[int, str]:
        """Messages of which something is missing that must not, and what."""
        missing: dict[int, str] = {}
        for spot, spans in self.spans.items():
            index, message = spot.message, self.messages[spot.message]
            if spans or spot.part in ("speaker", "key") or (spot.part == "content" and message.tool_calls):
                continue
            if spot.part == "content":
                what = f"drops the text of message {index} ({message.role})"
            else:
                part = "the name" if spot.part == "name" else f"argument {spot.key!r}"
                what = f"does not write {part} of call {spot.call} in message {index}"
            missing.setdefault(index, f"the chat template {what}")
        return {index: what for index, what in missing.items() if not self._was_said(index)}

    def _was_said(self, index: int) -> bool:
        """Whether a text stands in the first prompt after it: Mistral leaves a system message out of later ones."""
        turns = (i for i, message in enumerate(self.messages) if i > index and message.role == "assistant")
        first = next(turns, len(self.messages))
        spot, prompt = Spot("content", index), self.messages[:first]
        if self.messages[index].role == "assistant" or (self.generation and first == len(self.messages)):
            return False
        return bool(_Conversation(self.template, self.tools, prompt, generation=True).spans.get(spot))

    def _dropped(self) -> list[int]:
        """Messages whose text, or a part of it that is set apart as a thought, is not written."""
        return [index for index, message in enumerate(self.messages) if self._is_dropped(index, message.content)]

    def _is_dropped(self, index: int, content: str) -> bool:
        spans = self.spans.get(Spot("content", index))
        if not spans:
            return spans is not None
        apart = _THOUGHT.match(content) is not None and not any("</think>" in _cut(self.text, span) for span in spans)
        return apart and len(spans) < sum(bool(part.strip()) for part in THOUGHT_TAGS.split(content)[::2])

    def _starts(self, turns: Sequence[TurnSpan]) -> list[int]:
        """Where each message begins, and where the last one ends.

        A message ends where the text without the later ones does. Where these change its end (a template that closes
        several tool results at once), or the text without them is none (only a system message), it ends with its own
        words, and at the latest where a later message's words begin (a system message may stand in the last question).
        So does a result between many others: a text for each of thousands would cost the square of their number.
        """
        answers = {turn.message: turn.answer for turn in turns}
        contents = [self.spans.get(Spot("content", index), ()) for index in range(len(self.messages))]
        words = [spans[0][0] if spans else len(self.text) for spans in contents]
        begun = list(accumulate(reversed(words), min))[::-1]  # where a message's words or those of a later one begin
        asked = list(accumulate((message.role != "system" for message in self.messages), operator.or_))
        starts = [begun[0] if contents[0] else 0]
        for index, spans in enumerate(contents):
            end = answers[index][1] if index in answers else spans[-1][1] if spans else 0
            opening = self.template.opening
            following = answers.get(index + 1)
            if following and opening and self.text.endswith(opening, 0, following[0]):
                end = following[0] - len(opening)
            elif asked[index] and not self._is_among_many(index):
                upto = self._upto(index)
                end = len(upto) if self.text.startswith(upto) else end
            limit = begun[index + 1] if index + 1 < len(begun) else end
            starts.append(max(min(end, limit), starts[-1]))
        return starts

    def _is_among_many(self, index: int) -> bool:
        """Whether a message is a result between `MANY_RESULTS` and more."""
        around = self.messages[max(index - MANY_RESULTS, 0) : index + 2]
        return len(around) == MANY_RESULTS + 2 and all(message.role == "tool" for message in around)

    def _turn(self, index: int) -> TurnSpan | str:
        """Where a turn stands, or why it cannot be learnt from the whole text."""
        prompt, upto = self.template.write(self.tools, self.messages[:index], generation=True), self._upto(index)
        end = self._answer_end(index, upto)
        if end is None:
            return (
                f"cannot tell where the answer of message {index} ends: the chat template ends others with "
                f"{self._closer(index)!r}, but this turn with {upto[-40:]!r}"
            )
        if not upto.startswith(prompt) or not self.text.startswith(upto[:end]) or end < len(prompt):
            return (
                f"the chat template rewrites what precedes message {index}: a model would be trained on another prompt "
                "than it answers; use another template or the format 'paper'"
            )
        return self._turn_span(index, len(prompt), end)

    def _turn_span(self, index: int, start: int, end: int) -> TurnSpan:
        """A turn whose answer is ``[start, end)`` in the text."""
        stop = self._closer(index).strip()
        has_stop = stop and self.text.startswith(stop, end)
        return TurnSpan(
            index, (start, end), self._calls(index, start, end), (end, end + len(stop)) if has_stop else None
        )

    def _closer(self, index: int) -> str:
        """What ends a turn."""
        return self.template.call_closer if self.messages[index].tool_calls else self.template.closer

    def _answer_end(self, index: int, upto: str) -> int | None:
        """Where the terminator of the turn that ends the text ``upto`` begins; None if something else ends it."""
        closer = self._closer(index)
        stop = closer.strip()
        body = upto.rstrip() if stop else upto
        return len(body) - len(stop or closer) if body.endswith(stop or closer) else None

    def _calls(self, index: int, start: int, end: int) -> tuple[CallSpan, ...]:
        spans = []
        for number, call in enumerate(self.messages[index].tool_calls):
            name = self._inside(Spot("name", index, number), start, end)
            values = {key: self._inside(Spot("value", index, number, key), start, end) for key in call.arguments}
            if not name or not all(values.values()):
                raise RenderError(f"the chat template writes call {number} of message {index} outside of its answer")
            spans.append(CallSpan(name[0], {key: found[0] for key, found in values.items()}))
        return tuple(spans)

    def _inside(self, place: Spot, start: int, end: int) -> list[Span]:
        """Where something is written within ``[start, end)``."""
        return [span for span in self.spans.get(place, ()) if start <= span[0] and span[1] <= end]

    def _tool_block(self) -> Span:
        """The part of the text that depends on which tools there are."""
        sentinel = "1" + "0" * 9
        while sentinel in self.text:
            sentinel += "0"
        stand_in = self.template.write([Tool(sentinel)], self.messages, self.generation)
        if stand_in == self.text:
            raise RenderError("the chat template does not show the tools; use another template or the format 'paper'")
        start = common_prefix(self.text, stand_in)
        return start, len(self.text) - min(common_prefix(self.text[::-1], stand_in[::-1]), len(self.text) - start)

    def _upto(self, index: int) -> str:
        """The conversation as it ends with message ``index``."""
        if index == len(self.messages) - 1 and not self.generation:
            return self.text
        if index not in self._written:
            self._written[index] = self.template.write(self.tools, self.messages[: index + 1])
        return self._written[index]


def _cut(text: str, span: Span) -> str:
    return text[span[0] : span[1]]
