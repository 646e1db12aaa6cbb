"""Tools, calls and results that a text holds between tags: ``<tools>``, ``<tool_call>``, ``<tool_response>``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields, remark
from tl_jax.tooluse.readers.fields import arguments, literal, plain
from tl_jax.tooluse.readers.messages import ARGUMENTS, identity
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

LEFT_OUT = "sentence of a system text left out: it says how to write calls, which every renderer says itself"

_FORMAT = re.compile(
    r"</?[a-z_]+>|\[\w[\w ]*\(|\bpydantic\b|\bJSON\b|\bXML\b|other text"
    r"|\b(function|tool)s?[ /]+(signature|call|section)"
    r"|\b(call|invoke|compos\w+|possible|set of|list of)\b.*\bfunctions?"
    r"|\bthe functions?\b.*\b(can be used|lacks|also point)|\bfunctions? can be used|available tools|# Tools"
    r"|values to plug into",
    re.IGNORECASE,
)
"""What sentences that describe a format of calls have, and hardly any others."""
_EXAMPLE = re.compile(
    r"<tool_call>.*?</tool_call>|\{[^{}]*'FunctionCall'[^}]*\}[^}]*\}[^}]*\}(?:[^}.<\n]*\})?", re.DOTALL
)
"""Examples of calls, and the schema of calls that Hermes' prompt has."""
_SENTENCE = re.compile(r"[^\n]*?(?:[.!?:](?=\s|$)|\n|$)\s*", re.DOTALL)


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
    """The results in a text, each between its tags; a text without tags is one result.

    A result that is an object of a tool's name and what it said is unwrapped, if that tool was called and nothing else
    stands beside.

    Args:
        called: the names of the calls that wait for a result.
        listed_as: what the object calls the name and what was said.
    """
    found = between(text, "tool_response")[0] or [text]
    return [unwrapped(item, called, listed_as) for item in found]


def unwrapped(text: str, called: Sequence[str], fields: tuple[str, str] = ("name", "content")) -> Message:
    """The result that a text is, see `results`."""
    try:
        value = literal(text, "")
    except DataError:
        return Message("tool", text)
    name, content = fields
    if isinstance(value, dict) and value.keys() == {name, content} and value[name] in called:
        return Message("tool", plain(value[content]), name=value[name])
    return Message("tool", text)


def offered(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools that a system text lists between ``<tools>`` tags or as a JSON list, and its other words.

    Sentences that say how to write calls are left out, and counted. A text that lists no tools stays as it is.

    Raises:
        DataError: something in the list is no tool.
    """
    blocks, rest = between(text, "tools")
    block = next((item for item in blocks if item.startswith(("[", "{"))), None)
    if block is not None:
        return listed(block, f"{where}: tools"), own_words(rest)
    for match in re.finditer(r"\[\s*\{", text):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if all(isinstance(item, dict) and ("name" in item or "function" in item) for item in value):
            found = [_typed(item) for item in value]
            before = re.sub(r"<\|[a-z_]+\|>(tool_declare)?", "", text[: match.start()])
            after = re.sub(r"<\|[a-z_]+\|>", "", text[end:]).removeprefix(".")
            return listed(found, f"{where}: tools"), own_words(f"{before}\n{after}")
    return (), text


def _typed(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool with Python's types in its schema as JSON's (``dict`` is ``object``)."""
    if isinstance(tool.get("parameters"), dict):
        return {**tool, "parameters": json_schema(tool["parameters"])}
    return tool


def own_words(text: str) -> str:
    """A system text without the sentences that say how to write calls."""
    kept = []
    for match in _SENTENCE.finditer(_EXAMPLE.sub("", text)):
        if match[0] and _FORMAT.search(match[0]):
            remark(LEFT_OUT)
        else:
            kept.append(match[0])
    return "".join(kept).strip()
