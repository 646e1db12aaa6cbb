"""Calls, results and lists of tools that a text holds: between tags, as objects, one a line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import ARGUMENTS, arguments, identity, literal, plain
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

_HEADER_BEFORE = re.compile(r"\s*<\|start_header_id\|>(?:ipython|tool)<\|end_header_id\|>\s*")
_HEADER = re.compile(rf"\A{_HEADER_BEFORE.pattern}|\s*<\|(?:eot_id|im_end)\|>\s*\Z")
"""What Llama 3's template writes around a result."""
_MISTRAL = re.compile(r"\s*\[TOOL_RESULTS\]\s*(.*?)\s*\[/TOOL_RESULTS\]\s*", re.DOTALL)


def between(text: str, tag: str) -> tuple[list[str], str]:
    """What stands between the tags, and the text without it; a tag left open reaches to the next one or the end."""
    before, *parts = text.split(f"<{tag}>")
    pairs = [part.partition(f"</{tag}>") for part in parts]
    return [inside.strip() for inside, _, _ in pairs], before + "".join(after for _, _, after in pairs)


def calls(text: str, where: str) -> list[Call]:
    """The calls that a text is: ``{name, arguments}``, a list of them, or one a line.

    Raises:
        DataError: anything else.
    """
    found = []
    for item in _values(text, where):
        with Fields(item, where) as fields:
            fields.expect("type", "function", "tool_call")
            if "function" in fields:
                known_as = identity(fields, "id")
                with Fields(fields.take("function"), f"{where}.function") as inner:
                    name, given = inner.take("name", kind=str), inner.take(*ARGUMENTS, default={})
            else:
                name, known_as = fields.take("name", kind=str), identity(fields, "id")
                given = fields.take(*ARGUMENTS, default={})
        found.append(Call(name, arguments(given, f"{where}.arguments"), id=known_as))
    return found


def _values(text: str, where: str) -> list[Any]:
    """The value that a text is, or the values in its lines; a list as its items."""
    try:
        value = literal(text, where)
    except DataError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return _sequence(text, lines, where)
    return value if isinstance(value, list) else [value]


def _sequence(text: str, lines: Sequence[str], where: str) -> list[Any]:
    """JSON values one after another, or a literal a line."""
    decoder, values, position = json.JSONDecoder(), [], 0
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            while position < len(text) and text[position].isspace():
                position += 1
    except (ValueError, RecursionError):
        return [literal(line, where) for line in lines]
    return values


def listed(value: Any, where: str) -> tuple[Tool, ...]:
    """Tools as a list, as the text of a list, or as objects one a line.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, str) and value.strip():
        value = _values(value.strip(), where)
    values = value if isinstance(value, list) else [value] if value else []
    return tuple(Tool.from_json(item, f"{where}[{i}]") for i, item in enumerate(values) if item is not None)


def results(text: str, called: Sequence[str], listed_as: tuple[str, str] = ("name", "content")) -> list[Message]:
    """The results in a text, each between its tags; a text without tags, or with words beside them, is one result.

    A result that is an object of a tool's name and what it said is unwrapped, if that tool was called and nothing else
    stands beside.

    Args:
        called: the names of the calls that wait for a result.
        listed_as: what the object calls the name and what was said.
    """
    text = _HEADER.sub("", text)
    found, rest = between(text, "tool_response")
    if not found or rest.strip():
        match = _MISTRAL.fullmatch(text)
        return _listed_results(text, called) or [unwrapped(match[1] if match else text, called, listed_as)]
    return [unwrapped(item, called, listed_as) for item in found]


def is_results(text: str) -> bool:
    """Whether a text is results as templates write them, and nothing else."""
    if "<tool_response>" in text:
        texts, rest = between(text, "tool_response")
        return bool(texts) and not rest.strip()
    return _HEADER_BEFORE.match(text) is not None or _MISTRAL.fullmatch(text) is not None


def _listed_results(text: str, called: Sequence[str]) -> list[Message]:
    """The results in ToolACE's ``[{"name": ..., "results": ...}]``; none where a text is something else."""
    if "results" not in text or not text.lstrip().startswith("["):
        return []
    try:
        values = literal(text, "")
    except DataError:
        return []
    keys = {"name", "results"}
    if not values or not all(isinstance(i, dict) and i.keys() == keys and i["name"] in called for i in values):
        return []
    return [Message("tool", plain(item["results"]), name=item["name"]) for item in values]


def unwrapped(text: str, called: Sequence[str], fields: tuple[str, str] = ("name", "content")) -> Message:
    """The result that a text is, see `results`."""
    name, content = fields
    if name not in text or content not in text:  # most results, at once
        return Message("tool", text)
    try:
        value = literal(text, "")
    except DataError:
        return Message("tool", text)
    if isinstance(value, dict) and value.keys() == {name, content} and value[name] in called:
        return Message("tool", plain(value[content]), name=value[name])
    return Message("tool", text)
