"""Calls that a recorded message holds as text, as structure.

Stricter than reading an answer where the text may be prose, and more patient where it is not: words may stand around
calls that a mark begins, and a text may be long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.parse import TRIED, Answer, bind, parse_answer, thoughts
from tl_jax.tooluse.text.syntaxes import MAX_LENGTH, SYNTAXES, Offer, Parsed, Problem, Syntax, attempted, item
from tl_jax.tooluse.text.syntaxes.table import beginnings, marks
from tl_jax.tooluse.text.turn_end import without_turn_end

MAX_RECORDED = 1_000_000
"""Characters of a recorded message; calls in a longer one are not looked for."""

_MAYBE = re.compile(r"[<\[({>]|Action")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*\s*")
"""A line before a block of code."""
_TO_ALL = ">>>all\n"
"""What functionary writes before words."""
_LABEL = "Thought:"


class Unreadable(Problem):
    """A text looks like a call, and cannot be read as one.

    Args:
        syntax: the one that it looks like.
        why: it cannot be read.
        doubtful: it may be words about a call: no tag or token marks one, or it stands in a block of code.
    """

    def __init__(self, syntax: Syntax, why: str, doubtful: bool = False) -> None:
        self.looks = f"looks like a call in the syntax {syntax.name!r}"
        self.doubtful = doubtful
        super().__init__(f"{self.looks} and cannot be read: {why}")


@dataclass(frozen=True, slots=True)
class Structured:
    """What a text says and calls.

    Attributes:
        content: the words around the calls, ``<think>`` tags included; without the label of ReAct's ``Thought:``.
        reordered: some of the words stood after a call.
    """

    content: str
    calls: tuple[Call, ...]
    reordered: bool = False


def structure_calls(text: str, tools: Sequence[Tool], answered: bool = False) -> Structured | None:
    """The calls that a text holds, and its other words; None for a text that is nothing but words.

    Calls that a mark begins (a tag or token) are found anywhere, in blocks of code if they call tools on offer. Others
    (Python, objects, a name on a line) have to be the whole text and call tools on offer, or end it before a result, in
    a block of code or not.

    Args:
        tools: on offer.
        answered: the next message is the result of a tool.

    Raises:
        Unreadable: the text looks like a call, and cannot be read as one.

    Example:
        >>> found = structure_calls('I look. <tool_call>{"name": "f", "arguments": {}}</tool_call>', ())
        >>> found.content, found.calls[0].name
        ('I look.', 'f')
        >>> structure_calls("f(x) is a function", ()) is None
        True
    """
    if len(text) > MAX_RECORDED or not _MAYBE.search(text):
        return None
    text = without_turn_end(text)
    text = _unfenced(text, tools) if answered else text
    found, problem = _marked(text, tools)
    if found:
        return found
    found, other = _unmarked(text, tools, answered)
    if found:
        return found
    said, names = text[thoughts(text)[1] :], [tool.name for tool in tools]
    _refuse_marked(without_code(said), names, problem or other)
    if syntax := attempted(said, names):
        raise Unreadable(syntax, problem or other, doubtful=True)
    return Structured(text.removeprefix(_TO_ALL), ()) if text.startswith(_TO_ALL) else None


def _marked(text: str, tools: Sequence[Tool]) -> tuple[Structured | None, str]:
    """The calls that marks begin, or None and why none of them can be read."""
    offer = Offer(tools)
    offer = offer.with_odd_names() or offer
    position = thoughts(text)[1]
    words, calls, problem, code = [text[:position]], list[Parsed](), "", Code(text)
    left = TRIED * max(len(text), MAX_LENGTH)
    for opening in marks().finditer(text, position):
        start = opening.start()
        if start < position:  # inside of the last call
            continue
        try:
            found, end = item(text, start, offer)
        except Problem as error:
            problem = problem or str(error)
            left -= len(text) - start
            if left < 0:
                break
            continue
        if code.holds(start) and not all(offer.tool(call.name) for call, _ in found):
            continue  # an example
        code.skip(start, end)
        words.append(text[position:start])
        calls += found
        position = end
    if not calls:
        return None, problem
    after, before = [*words[2:], text[position:]], "".join(words[:2])
    said = before + "".join(after)
    _refuse_marked(without_code(said), (), problem)
    content = said.strip().removeprefix(_TO_ALL).strip()
    return Structured(content, bound(calls, tools), any(map(str.strip, after))), ""


class Code:
    """The blocks of code in a text, in their order; what begins inside of a call is none."""

    def __init__(self, text: str) -> None:
        self._text, self._block = text, _CODE.search(text)

    def holds(self, place: int) -> bool:
        """Whether a place is in one. Each place comes after the one before."""
        while self._block and self._block.end() <= place:
            self._block = _CODE.search(self._text, self._block.end())
        return self._block is not None and self._block.start() <= place

    def skip(self, start: int, end: int) -> None:
        """Says that a call stands here."""
        if self._block and start <= self._block.start() < end:
            self._block = _CODE.search(self._text, end)


def _unmarked(text: str, tools: Sequence[Tool], answered: bool) -> tuple[Structured | None, str]:
    """The calls that a text is or, if it is answered, ends with; or None and why there are none."""
    start, offer = thoughts(text)[1], Offer(tools)
    said = text[start:].lstrip()
    if not answered and not beginnings(offer.with_odd_names() or offer).match(said):  # most texts, at once
        return None, "words stand before it"
    answer = parse_answer(text, tools, MAX_RECORDED)
    if not answer.calls or not _is_meant(answer, said, [tool.name for tool in tools], answered):
        return None, answer.problem or "it calls no tool on offer"
    is_react = answer.reasoning.startswith(_LABEL)
    thought = answer.reasoning.removeprefix(_LABEL).strip() if is_react else text[:start].strip()
    words = "\n".join(part for part in (thought, answer.text) if part)
    return Structured(words, bound(zip(answer.calls, answer.positional, strict=True), tools)), ""


def _unfenced(text: str, tools: Sequence[Tool]) -> str:
    """The text with the calls in the blocks of code that it ends with, and without these blocks."""
    start = thoughts(text)[1]
    lines, calls = text[start:].strip().split("\n"), list[str]()
    while len(lines) > 2 and lines[-1].rstrip() == "```":
        opening = next((i for i in range(len(lines) - 2, -1, -1) if _FENCE.fullmatch(lines[i])), None)
        block = "" if opening is None else "\n".join(lines[opening + 1 : -1])
        if not block or (opening and not _is_calls(block, tools)):  # what is the whole text is no example
            break
        calls.append(block)
        del lines[opening:]
        while lines and not lines[-1].strip():
            lines.pop()
    return text[:start] + "\n".join((*lines, *reversed(calls))) if calls else text


def _is_calls(text: str, tools: Sequence[Tool]) -> bool:
    """Whether a text is nothing but calls, of tools on offer or with a mark."""
    answer, names = parse_answer(text, tools, MAX_RECORDED), [tool.name for tool in tools]
    offered = all(call.name in names for call in answer.calls)
    return answer.problem is None and (offered or bool(_tries_mark(text, ())))


def _is_meant(answer: Answer, said: str, names: Sequence[str], answered: bool) -> bool:
    """Whether calls without a mark are some, and no example."""
    offered = all(call.name in names for call in answer.calls)
    if answered and not _tries_mark(answer.text, ()):
        return offered or answer.problem is None or attempted(said, ()) is not None
    return offered and answer.problem is None


def _refuse_marked(text: str, names: Sequence[str], problem: str) -> None:
    """Complains about a text in which something that marks calls is left.

    Raises:
        Unreadable: it is.
    """
    if tried := _tries_mark(text, names):
        nearest = next((syntax for syntax in tried if re.search(syntax.opening, text)), tried[0])
        raise Unreadable(nearest, problem or "it is not written as such calls are")


def _tries_mark(text: str, names: Sequence[str]) -> list[Syntax]:
    """The syntaxes with a mark in which a text tries to make a call."""
    return [syntax for syntax in SYNTAXES.values() if syntax.marked and syntax.attempts(text, names)]


def without_code(text: str) -> str:
    """The text with blanks in place of what stands between backticks.

    Example:
        >>> without_code("a `b` c")
        'a     c'
    """
    return _CODE.sub(lambda code: " " * len(code[0]), text) if "`" in text else text


def bound(parsed: Iterable[Parsed], tools: Sequence[Tool]) -> tuple[Call, ...]:
    """The calls with their positional arguments named, as the first tool of their name has them."""
    offered = by_name(tools)
    return tuple(_named(call, values, offered.get(call.name, Tool(call.name))) for call, values in parsed)


def _named(call: Call, positional: tuple[Any, ...], tool: Tool) -> Call:
    """The call with its positional arguments named; one object in brackets, ``f({"a": 1})``, is the arguments.

    It is not where the tool's first parameter may be an object itself.
    """
    if len(positional) == 1 and not call.arguments and isinstance(positional[0], dict):
        first = next((tool.properties[name].get("type") for name in tool.signature), None)
        if isinstance(first, str) and first != "object" and positional[0].keys() <= tool.properties.keys():
            return replace(call, arguments=positional[0])
    return bind(call, positional, tool)
