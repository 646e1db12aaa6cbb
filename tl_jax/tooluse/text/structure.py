"""Calls that a recorded message holds as text, as structure.

Stricter than reading an answer where the text may be prose, and more patient where it is not: words may stand around
calls that a mark begins, and a text may be long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.parse import Answer, bind, parse_answer, thoughts
from tl_jax.tooluse.text.syntaxes import SYNTAXES, Offer, Parsed, Problem, attempted, item
from tl_jax.tooluse.text.syntaxes.table import marks

MAX_RECORDED = 1_000_000
"""Characters of a recorded message; calls in a longer one are not looked for."""

_MAYBE = re.compile(r"[<\[({>]|Action")
_END = re.compile(r"\s*(?:<\|(?:eot_id|eom_id|eot|im_end|end|end_of_text)\|>|</s>)\s*\Z")
"""What a template writes after an answer, where a file was made of a model's raw output."""
_TO_ALL = ">>>all\n"
_LABEL = "Thought:"


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
    """The calls that a text holds, and its other words; None for a text that calls nothing.

    Calls that a mark begins (a tag or token) are found anywhere. Others (Python, objects, a name on a line) have to be
    the whole text, or its end if a result follows, and call tools on offer.

    Args:
        tools: on offer.
        answered: the next message is the result of a tool.

    Raises:
        Problem: the text looks like a call, and cannot be read as one.

    Example:
        >>> structure_calls('I look. <tool_call>{"name": "f", "arguments": {}}</tool_call>', ())
        Structured(content='I look.', calls=(Call(name='f', arguments={}, wild=(), id=None),), reordered=False)
        >>> structure_calls("f(x) is a function", ()) is None
        True
    """
    if len(text) > MAX_RECORDED or not _MAYBE.search(text):
        return None
    text = _END.sub("", text)
    found, problem = _marked(text, tools)
    if found:
        return found
    answer, start = parse_answer(text, tools, MAX_RECORDED), thoughts(text)[1]
    said, names = text[start:], [tool.name for tool in tools]
    if answer.calls and _is_meant(answer, said, names, answered):
        is_react = answer.reasoning.startswith(_LABEL)
        thought = answer.reasoning.removeprefix(_LABEL).strip() if is_react else text[:start].strip()
        words = "\n".join(part for part in (thought, answer.text) if part)
        return Structured(words, _bound(zip(answer.calls, answer.positional, strict=True), tools))
    for syntax in SYNTAXES.values():
        if (syntax.marked or answered) and syntax.attempts(said, names):
            raise Problem(
                f"looks like a call in the syntax {syntax.name!r} and cannot be read: {problem or answer.problem}"
            )
    return None


def _marked(text: str, tools: Sequence[Tool]) -> tuple[Structured | None, str]:
    """The calls that marks begin, or None and why none of them can be read."""
    offer = Offer(tools)
    offer = offer.with_odd_names() or offer
    position = thoughts(text)[1]
    words, calls, problem = [text[:position]], list[Parsed](), ""
    for opening in marks().finditer(text, position):
        start = opening.start()
        if start < position:  # inside of the last call
            continue
        try:
            found, end = item(text, start, offer)
        except Problem as error:
            problem = problem or str(error)
            continue
        words.append(text[position:start])
        calls += found
        position = end
    if not calls:
        return None, problem
    after, before = [*words[2:], text[position:]], "".join(words[:2])
    said = before + "".join(after)
    for syntax in SYNTAXES.values():
        if syntax.marked and syntax.attempts(said, ()):
            raise Problem(f"looks like one more call in the syntax {syntax.name!r} and cannot be read: {problem}")
    content = said.strip().removeprefix(_TO_ALL).strip()
    return Structured(content, _bound(calls, tools), any(map(str.strip, after))), ""


def _is_meant(answer: Answer, said: str, names: Sequence[str], answered: bool) -> bool:
    """Whether calls without a mark are some, and no example."""
    offered = all(call.name in names for call in answer.calls)
    if answered:
        return offered or answer.problem is None or attempted(said, ()) is not None
    return offered and answer.problem is None


def _bound(parsed: Iterable[Parsed], tools: Sequence[Tool]) -> tuple[Call, ...]:
    """The calls with their positional arguments named."""
    offered = {tool.name: tool for tool in reversed(tools)}
    return tuple(bind(call, values, offered.get(call.name, Tool(call.name))) for call, values in parsed)
