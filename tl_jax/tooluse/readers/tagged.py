"""Calls and lists of tools that a text holds: between tags, as objects, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import ARGUMENTS, call_arguments, identity, literal
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Tool
from tl_jax.tooluse.strict_json import DECODER


def between(text: str, tag: str) -> tuple[list[str], str]:
    """What stands between the tags, and the text without it; a tag left open reaches to the next one or the end."""
    before, *parts = text.split(f"<{tag}>")
    pairs = [part.partition(f"</{tag}>") for part in parts]
    return [inside.strip() for inside, _, _ in pairs], before + "".join(after for _, _, after in pairs)


def calls(said: Any, where: str, offered: Sequence[Tool] = (), padded: bool = False) -> list[Call]:
    """The calls that a text is: ``{name, arguments}``, a list of them, or one a line; or that these values are.

    Args:
        offered: tools, whose schemas tell which nulls of a value were meant. In a text all were.
        padded: a table wrote the row, see `nulls`.

    Raises:
        DataError: anything else.
    """
    known = by_name(offered)
    values = said if isinstance(said, list) else _values(said, where) if isinstance(said, str) else [said]

    def call(fields: Fields, known_as: str | None) -> Call:
        name = fields.take("name", kind=str)
        given = call_arguments(fields, known.get(name), None if isinstance(said, str) else padded, *ARGUMENTS)
        return Call(name, given, id=known_as)

    found = []
    for value in values:
        with Fields(value, where) as outer:
            outer.expect("type", "function", "tool_call")
            known_as = identity(outer, "id")
            if "function" in outer:
                with Fields(outer.take("function"), f"{where}.function") as inner:
                    found.append(call(inner, known_as))
            else:
                found.append(call(outer, known_as))
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
