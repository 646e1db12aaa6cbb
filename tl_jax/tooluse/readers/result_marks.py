"""What templates and data sets write around the results of calls: tables of it, and where it stands in a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

from tl_jax.tooluse.readers.fields import literal, plain
from tl_jax.tooluse.schema import DataError, Message
from tl_jax.tooluse.text.syntaxes import Problem
from tl_jax.tooluse.text.syntaxes.gemma_calls import QUOTES, read_object
from tl_jax.tooluse.text.turn_end import between_turns, without_turn_end

Inside: TypeAlias = Callable[[str, int], list[Message]]
"""Reads what stands between two marks as results, of so many calls that wait for one."""


def value_of(text: str) -> Any:
    """The value that a text is; None where it is no literal."""
    try:
        return literal(text, "")
    except DataError:
        return None


def _one(inside: str, waiting: int) -> list[Message]:
    return [Message("tool", without_turn_end(inside).strip())]


@dataclass(frozen=True, eq=False)
class Mark:
    """What is written around a result.

    Args:
        opening: a regular expression, which begins with a character of its own where that is no label (so it is found
            fast); its groups ``name`` and ``id`` are the tool's and the call's, ``attributes``
            those of a tag.
        closing: likewise, for what ends it.
        read: reads what stands between them.
        inside: marks of the single results, where all of them stand between two marks.
        left_open: where nothing closes it, it reaches to the next one or the end.
    """

    opening: str
    closing: str
    read: Inside = _one
    inside: tuple[Mark, ...] = ()
    left_open: bool = False

    @cached_property
    def begins(self) -> re.Pattern[str]:
        """Its beginning."""
        return re.compile(self.opening)

    @cached_property
    def ends(self) -> re.Pattern[str]:
        """Its end, or the next beginning: the search for an end that lacks goes no further."""
        return re.compile(f"(?P<end>{self.closing})|(?:{self.opening})")


class MarkedResult(NamedTuple):
    """A result in a text: where its marks begin and end, and whether something ends it."""

    start: int
    end: int
    closed: bool
    mark: Mark
    opened: re.Match[str]
    inside: str

    def results(self, waiting: int) -> list[Message]:
        """What it says, of ``waiting`` calls: one result, or several."""
        read = whole(self.inside, self.mark.inside, waiting) or self.mark.read(self.inside, waiting)
        groups = self.opened.groupdict()
        if attributes := groups.get("attributes"):
            return [_with_attributes(item, attributes, self.opened.string[self.start : self.end]) for item in read]
        name, known_as = groups.get("name"), groups.get("id")
        return [replace(item, name=item.name or name, call_id=item.call_id or known_as) for item in read]


def marked(text: str, marks: Sequence[Mark]) -> Iterator[MarkedResult]:
    """The results in a text, in their order."""
    position = 0
    while marks and (opening := _openings(tuple(marks)).search(text, position)):
        mark, opened = next((one, at) for one in marks if (at := one.begins.match(text, opening.start())))
        position = opened.end()
        ended = mark.ends.search(text, position)
        closed = ended is not None and ended["end"] is not None
        if closed or mark.left_open:
            inside = text[position : ended.start() if ended else len(text)]
            position = ended.end() if ended and closed else position + len(inside)
            yield MarkedResult(opening.start(), position, closed, mark, opened, inside)


def whole(text: str, marks: Sequence[Mark], waiting: int) -> list[Message]:
    """The results that a text consists of; none where it says something else, too."""
    results, position = list[Message](), 0
    for found in marked(text, marks):
        if between_turns(text[position : found.start]):
            return []
        results += found.results(waiting)
        position = found.end
    return results if results and not between_turns(text[position:]) else []


def labelled(text: str, waiting: int) -> list[Message]:
    """The result that a text is which begins with a label, to its end; none where it does not."""
    said = text.lstrip()
    for mark in LABELS:
        if opened := mark.begins.match(said):
            return MarkedResult(0, len(said), True, mark, opened, said[opened.end() :]).results(waiting)
    return []


@lru_cache
def _openings(marks: tuple[Mark, ...]) -> re.Pattern[str]:
    without_names = (re.sub(r"\(\?P<\w+>", "(?:", mark.opening) for mark in marks)
    return re.compile("|".join(without_names))


# --- what stands between marks ---------------------------------------------------------------------------------------

_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*["']([^"'<>]*)["']""")
_NAMES, _IDS = ("name", "tool", "tool_name", "function"), ("id", "call_id", "tool_call_id")
_FAILED = {"is_error": {"true": True, "false": False}, "status": {"error": True, "success": False}}


def _with_attributes(result: Message, attributes: str, element: str) -> Message:
    """The result with what its tag says; the whole element where that is something else."""
    for key, value in _ATTRIBUTE.findall(attributes):
        failed = _FAILED.get(key, {}).get(value.lower())
        if key in _NAMES:
            result = replace(result, name=value)
        elif key in _IDS:
            result = replace(result, call_id=value)
        elif failed is not None:
            result = replace(result, error=failed)
        else:
            return Message("tool", element)
    return Message("tool", element) if _ATTRIBUTE.sub("", attributes).strip() else result


def _items(inside: str, waiting: int) -> list[Message]:
    """The results in the list that Nemotron's template writes, of texts as they are.

    A list of more items than calls is what one tool said.
    """
    said = inside.strip()
    value = value_of(said) if said.startswith("[") and said.endswith("]") else said
    if value is None:
        return _one(said[1:-1], waiting)
    if isinstance(value, list) and 0 < len(value) <= max(waiting, 1):
        return [Message("tool", plain(item)) for item in value]
    return _one(said, waiting)


_MISTRAL_ID = re.compile(r"([^\[\]{}\s]{1,64})?\[TOOL_CONTENT\]")


def _of_mistral(inside: str, waiting: int) -> list[Message]:
    """A result after its id, or as an object with it."""
    if begun := _MISTRAL_ID.match(inside):
        return [Message("tool", inside[begun.end() :].strip(), call_id=begun[1])]
    value = value_of(inside) if "call_id" in inside else None
    if isinstance(value, dict) and value.keys() == {"content", "call_id"}:
        return [Message("tool", plain(value["content"]), call_id=str(value["call_id"]))]
    return _one(inside, waiting)


def _of_cohere(inside: str, waiting: int) -> list[Message]:
    """A list of what each tool said, as documents by their number."""
    value = value_of(inside)
    items = value if isinstance(value, list) and value else [value]
    known = {"tool_call_id", "results", "is_error"}
    if not all(isinstance(item, dict) and "results" in item and item.keys() <= known for item in items):
        return _one(inside, waiting)
    results = []
    for item in items:
        said = list(item["results"].values()) if isinstance(item["results"], dict) else item["results"]
        text = plain(said[0] if isinstance(said, list) and len(said) == 1 else said)
        known_as = item.get("tool_call_id")
        known_as = None if known_as is None else str(known_as)
        results.append(Message("tool", text, call_id=known_as, error=item.get("is_error") is True))
    return results


_RESPONSE = re.compile(r"\s*response:(?P<name>[^{}<>\n]+)(?=\{)")


def _of_gemma(inside: str, waiting: int, quote: str) -> list[Message]:
    """``response:f{value:1}``: an object, of which ``value`` alone is what the tool said."""
    named = _RESPONSE.match(inside)
    try:
        said, end = read_object(inside, named.end(), quote) if named else ({}, 0)
    except Problem:
        named, end = None, 0
    if named is None or inside[end:].strip():
        return _one(inside, waiting)
    return [Message("tool", plain(said["value"] if said.keys() == {"value"} else said), name=named["name"].strip())]


# --- the tables ------------------------------------------------------------------------------------------------------


def _tag(name: str, *inside: Mark, read: Inside = _one) -> Mark:
    """A tag with or without attributes, in any case of letters; it may be left open."""
    opening = rf"<(?i:{name})(?P<attributes>(?:\s[^<>]{{0,500}})?)>"
    return Mark(opening, rf"</(?i:{name})>", read, inside, left_open=True)


_TOOL_RESPONSE, _TOOL_RESULT, _RESULT = map(_tag, ("tool_response", "tool_result", "result"))
_DEEPSEEK = Mark("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>")
_OF_TURNS = (
    Mark("<TOOL_RESPONSE>", "</TOOL_RESPONSE>", _items),  # Nemotron
    _TOOL_RESPONSE,
    _TOOL_RESULT,
    *map(_tag, ("function_response", "function_result", "function_output", "tool_output")),
    *map(_tag, ("seed:tool_response", "tool_response:opensource", "longcat_tool_response")),
    _tag("tool_responses", _TOOL_RESPONSE),
    _tag("tool_responses:opensource", _tag("tool_response:opensource")),
    _tag("tool_results", _TOOL_RESULT),
    _tag("function_results", _RESULT),
    Mark(r"\[TOOL_RESULTS\]", r"\[/TOOL_RESULTS\]", _of_mistral),
    Mark("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", inside=(_DEEPSEEK,)),
    _DEEPSEEK,
    # Kimi
    Mark(
        r"## Return of (?P<id>(?:functions\.)?(?P<name>[^\s:]+):\d+)(?m:[ \t]*$)",
        r"(?m:(?=^## Return of ))|<\|im_end\|>|\Z",
        left_open=True,
    ),
    Mark(r"<\|START_TOOL_RESULT\|>", r"<\|END_TOOL_RESULT\|>", _of_cohere),
    Mark(r"<\|tool_response\|>", r"<\|/tool_response\|>"),  # Phi
    Mark(r"<\|tool_response>", r"<tool_response\|>", partial(_of_gemma, quote=QUOTES["gemma_4"])),
    Mark(
        "<start_function_response>",
        "<end_function_response>",
        partial(_of_gemma, quote=QUOTES["function_gemma"]),
    ),
    # gpt-oss
    Mark(
        r"<\|start\|>functions\.(?P<name>[^\s<]+) to=assistant(?:<\|channel\|>\w+)?<\|message\|>",
        r"<\|end\|>",
        left_open=True,
    ),
    Mark("✿RESULT✿:", r"✿RETURN✿:|(?=✿FUNCTION✿)|\Z", left_open=True),  # Qwen-Agent
)
MARKS = (
    # Llama 3
    Mark(
        r"<\|start_header_id\|>(?:ipython|tool)<\|end_header_id\|>", r"(?=<\|start_header_id\|>)|\Z", inside=_OF_TURNS
    ),
    *_OF_TURNS,
)
"""Tags and tokens, which no ordinary text holds unless it speaks of them."""

_GOES_ON = r"(?m:^[ \t]*(?:ASSISTANT:|(?=(?:Thought|Action|Final Answer|USER):)))|\Z"
"""What ends a result where the assistant writes it: the next turn in Glaive's text, ReAct's next step."""
LABELS = tuple(
    Mark(rf"(?m:^[ \t]*{label})", _GOES_ON, left_open=True)
    for label in (
        r"Call id: (?P<id>\S+)\n(?:Observation:|(?=Error:))",  # smolagents
        r"Observation:",  # ReAct
        r"(?i:(?:tool|function)[ _](?:response|result|output)s?):",  # Glaive
    )
)
"""Words before a result, which other texts begin with as well: only in a result, or right after a call."""
PLAIN = (
    *map(_tag, ("response", "result", "output", "observation", "information")),
    Mark(r"```(?:tool_)?(?:output|result|response)s?[ \t]*\n", r"\n[ \t]*```"),
)
"""What a tool's own words may have: a result only right after a call, where nobody says that it is one."""
