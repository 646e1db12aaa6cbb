"""Text -> calls, or the reason why it is not one. Nothing is ever executed, whatever the text says.

How calls may be written is the table `tl_jax.tooluse.text.syntaxes.SYNTAXES`; here is what stands around them: prose,
what the model thought before, and several calls one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

from tl_jax.tooluse.schema import Call, Tool
from tl_jax.tooluse.text.syntaxes import MAX_ARGUMENTS, MAX_LENGTH, Offer, Parsed, Problem, item
from tl_jax.tooluse.text.syntaxes.base import skip_space
from tl_jax.tooluse.text.syntaxes.table import beginnings, marked
from tl_jax.tooluse.text.turn_end import TURN_END

__all__ = ["MAX_ARGUMENTS", "MAX_LENGTH", "Answer", "bind", "first_call", "parse_answer", "without_thoughts"]

MAX_CANDIDATES = 100
"""Places in a text that look like the beginning of a call and are tried in turn."""
TRIED = 3
"""How often its length these places may have after them in all, so that a long text does not cost its square."""

_SEPARATOR = re.compile(r"[^\S\n]*(?:[;\n]\s*|\Z)")
_OBJECT = re.compile(r"(?:,\s*)?(?=\{)")
"""What stands before another object right after one: {...}{...}, as Llama 4 writes, or {...},{...}, as Phi-4-mini."""
_BLANKS = re.compile(r"[ \t\r]*")
_THOUGHTS = re.compile(
    r"\s*(?:<think>(?P<think>.*?)</think>|<thinking>(?P<thinking>.*?)</thinking>|\[THINK\](?P<bracket>.*?)\[/THINK\]"
    r"|<longcat_think>(?P<longcat>.*?)</longcat_think>|<think:opensource>(?P<open>.*?)</think:opensource>"
    r"|<\|START_THINKING\|>(?P<start>.*?)<\|END_THINKING\|>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>(?P<analysis>.*?)<\|end\|>"
    r"|<\|channel>thought(?P<thought>.*?)<channel\|>"
    r"|(?P<react>Thought:(?:(?!\n[ \t]*Observation:).)*?)\n[ \t]*(?=Action:))\s*",
    re.DOTALL,
)
_FIRST_OF_THOUGHTS = frozenset("<[T \t\r\n\f\v")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model's answer says.

    ``positional[i]`` are the arguments that ``calls[i]`` gives without a name (see `bind`). ``text`` is the prose
    before the calls, or everything where no calls were understood. ``problem`` is None exactly when the answer is one
    or more calls and nothing else but the end of a turn. ``reasoning`` is what the answer begins with in ``<think>``
    tags, or as ReAct's ``Thought:`` before an ``Action:``; it is no part of the text, and no problem. (The prompt may
    have begun it.)
    """

    calls: tuple[Call, ...]
    text: str = ""
    problem: str | None = None
    positional: tuple[tuple[Any, ...], ...] = ()
    reasoning: str = ""


def parse_answer(text: str, tools: Iterable[Tool] = (), max_length: int = MAX_LENGTH) -> Answer:
    """Reads a whole answer. Never raises.

    Calls after lines of prose are found when nothing follows them, and the prose is a problem all the same.

    Args:
        tools: those on offer. Where they are known, names of tools and arguments are understood that have blanks or
            brackets in them, and arguments in tags are read as the schema wants them.
        max_length: a text of more characters is refused.

    Example:
        >>> parse_answer("search(query = 'love') ").calls[0].arguments
        {'query': 'love'}
        >>> parse_answer("I could search.").problem
        "expected name(...), not 'I could search.'"
    """
    if len(text) > max_length:
        return Answer((), text, f"longer than {max_length} characters")
    offer = Offer(tools)
    answer = _read_offered(text, offer)
    if answer.problem is not None and (closed := _closed_thought(text)):
        thought = text[:closed].removesuffix("</think>").strip()
        return replace(_read_offered(text[closed:], offer), reasoning=thought)
    return answer


def first_call(text: str, tools: Iterable[Tool] = ()) -> Call | None:
    """The first call in an answer, whatever stands around it. Never raises.

    Looked for at the beginnings of lines, and inside them where no line begins like a call. Arguments without a name
    are named if the tool is among ``tools`` (see `bind`), and left out otherwise.
    """
    text = text[:MAX_LENGTH]
    offer = Offer(tools)
    offer = offer.with_odd_names() or offer
    start = thoughts(text)[1]
    if (closed := _closed_thought(text)) and parse_answer(text, tools).problem is not None:
        start = closed
    for candidate in _candidates(text, beginnings(offer), start) or _candidates(text, _inline(offer.odd), start):
        try:
            call, positional = item(text, candidate, offer)[0][0]
        except Problem:
            continue
        tool = offer.tool(call.name)
        return bind(call, positional, tool) if tool else call
    return None


def bind(call: Call, positional: tuple[Any, ...], tool: Tool) -> Call:
    """The call with its positional arguments named in the order of the tool's signature.

    One too many, or one that the call names as well, becomes an argument ``*0``, ``*1``, ...: no parameter of any tool.
    """
    if not positional:
        return call
    names = [
        name if index < len(tool.signature) and (name := tool.signature[index]) not in call.arguments else f"*{index}"
        for index in range(len(positional))
    ]
    return replace(call, arguments={**dict(zip(names, positional, strict=True)), **call.arguments})


def without_thoughts(text: str) -> str:
    """What an answer says after what it begins with in ``<think>`` tags, or as ReAct's ``Thought:``.

    Example:
        >>> without_thoughts("<think>Rain?</think> It will be dry.")
        'It will be dry.'
    """
    return text[thoughts(text)[1] or _closed_thought(text) :]


def _read_offered(text: str, offer: Offer) -> Answer:
    """An answer, perhaps with names that end where no plain ones do."""
    answer = _read(text, offer)
    if answer.problem is not None and (odd := offer.with_odd_names()):
        other = _read(text, odd)
        return other if other.problem is None or not answer.calls else answer
    return answer


def _read(text: str, offer: Offer) -> Answer:
    reasoning, begin = thoughts(text)
    try:
        parsed, problem, start = _calls(text, begin, offer), None, begin
    except Problem as error:
        parsed, problem, start = [], str(error), len(text)
        for candidate in _candidates(text, beginnings(offer), begin):
            try:
                parsed, problem, start = _calls(text, candidate, offer), "there is text besides the calls", candidate
                break
            except Problem:
                continue
    calls, positional = tuple(call for call, _ in parsed), tuple(values for _, values in parsed)
    return Answer(calls, text[begin:start].strip(), problem, positional, reasoning)


def thoughts(text: str) -> tuple[str, int]:
    """What an answer begins with that is not said but thought, and where the rest begins."""
    if text[:1] not in _FIRST_OF_THOUGHTS:  # most answers, at once
        return "", 0
    found = _THOUGHTS.match(text)
    return (found[found.lastgroup or 0].strip(), found.end()) if found else ("", 0)


def _closed_thought(text: str) -> int:
    """Where a thought ends whose ``<think>`` is not in the text, because the prompt ended with it; 0 if none does."""
    end = text.find("</think>")
    return end + len("</think>") if end >= 0 and text.find("<think>", 0, end) < 0 else 0


def _candidates(text: str, pattern: re.Pattern[str], start: int) -> list[int]:
    """Where a call may begin."""
    places = [match.end() for match in islice(pattern.finditer(text, start), MAX_CANDIDATES)]
    tried = accumulate(len(text) - place for place in places)
    limit = TRIED * max(len(text), MAX_LENGTH)
    return [place for place, characters in zip(places, tried, strict=True) if characters <= limit]


def _inline(odd: tuple[str, ...]) -> re.Pattern[str]:
    """Where a Python call may begin inside a line."""
    names = "|".join([*map(re.escape, odd), r"[\w.-]+"])
    return re.compile(rf"(?<![\w.-])(?=(?:{names})\()")


def _calls(text: str, position: int, offer: Offer) -> list[Parsed]:
    """All calls from ``position`` to the end of the text, which holds nothing else."""
    calls: list[Parsed] = []
    position = skip_space(text, position)
    while position < len(text):
        found, position = item(text, position, offer)
        calls += found
        position = _next_item(text, position)
    if not calls:
        raise Problem("no call")
    return calls


def _next_item(text: str, position: int) -> int:
    """Where the item after the one that ends at ``position`` begins; the end of the text if the turn ends there."""
    if TURN_END.match(text, position):
        return len(text)
    if separator := _SEPARATOR.match(text, position):
        return separator.end()
    blanks = _BLANKS.match(text, position)
    after = blanks.end() if blanks else position
    if marked(text, after):
        return after
    if text[position - 1] == "}" and (another := _OBJECT.match(text, after)):
        return another.end()
    raise Problem(f"text after the call: {text[position : position + 40]!r}")
