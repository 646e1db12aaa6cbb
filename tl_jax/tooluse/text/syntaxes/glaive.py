"""Glaive's calls: ``<functioncall> {"name": "f", "arguments": '{"a": 1}'}``, whose arguments stand in single quotes.

That is no JSON, nor Python where a text in the arguments has an apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import marked
from tl_jax.tooluse.text.syntaxes.base import Offer, Parsed, Problem, Syntax, expect, skip_space
from tl_jax.tooluse.text.syntaxes.json_calls import read, written_as
from tl_jax.tooluse.text.syntaxes.values import json_value, python_value

MARK, _END = "<functioncall>", "</functioncall>"
_NAME = re.compile(r'\s*\{\s*"name"\s*:')
_QUOTED = re.compile(r"\s*,\s*\"arguments\"\s*:\s*'")
_NOTHING = re.compile(r"\s*\}")


def read_call(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """The call after a mark; other objects than Glaive's own may follow it as well.

    Raises:
        Problem: none follows, or it cannot be read.

    Example:
        >>> text = '<functioncall> {"name": "f", "arguments": \\'{"a": "dog\\'s life"}\\'}'
        >>> read_call(text, 0, Offer())[0][0][0].arguments
        {'a': "dog's life"}
    """
    position += len(MARK)
    found, end = _own(text, position) or read(text, position, offer)
    closed = skip_space(text, end)
    return found, closed + len(_END) if text.startswith(_END, closed) else end


def _own(text: str, position: int) -> tuple[list[Parsed], int] | None:
    """A call with its arguments in quotes or without any; None where it is written in another way."""
    opened = _NAME.match(text, position)
    if not opened:
        return None
    name, end = json_value(text, opened.end())
    if not isinstance(name, str) or not name:
        raise Problem("the name is no text")
    if nothing := _NOTHING.match(text, end):
        return [(Call(name), ())], nothing.end()
    quoted = _QUOTED.match(text, end)
    if not quoted:
        return None
    arguments, end = _in_quotes(text, quoted.end())
    return [(Call(name, arguments), ())], expect(text, end, "}")


def _in_quotes(text: str, position: int) -> tuple[dict[str, Any], int]:
    """The object up to a single quote, and where that ends. Apostrophes in it have no backslash, as in JSON, or one.

    Raises:
        Problem: there is none.
    """
    try:
        found, end = json_value(text, position)
    except Problem:
        found, end = python_value(text, position)
    if not isinstance(found, dict):
        raise Problem("the arguments are not an object")
    return found, expect(text, end, "'")


def _write(calls: Sequence[Call]) -> str:
    def quoted(call: Call) -> str:
        return f"'{written_as(dict(call.arguments))}'"

    return "\n".join(f'{MARK} {{"name": {written_as(call.name)}, "arguments": {quoted(call)}}}' for call in calls)


SYNTAX = Syntax(
    name="glaive",
    description="an object after `<functioncall>`, its arguments as JSON in single quotes: Glaive",
    example=_write([Call("f", {"a": 1})]),
    opening=MARK,
    first="<",
    marked=True,
    read=read_call,
    attempts=marked(MARK, closing=_END),
    write=_write,
    source="https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2",
)
