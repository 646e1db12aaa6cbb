"""Calls and lists of tools that a text holds: between tags, as objects, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import ARGUMENTS, arguments, identity, literal
from tl_jax.tooluse.schema import Call, DataError, Tool
from tl_jax.tooluse.strict_json import DECODER


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
    values, position = list[Any](), 0
    try:
        while position < len(text):
            value, position = DECODER.raw_decode(text, position)
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
