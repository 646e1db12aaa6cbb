"""Calls in DeepSeek's markup from V3.2 on: arguments say whether they are text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.schema import Call
from tl_jax.tooluse.text.syntaxes.attempts import special
from tl_jax.tooluse.text.syntaxes.base import MAX_ARGUMENTS, Offer, Parsed, Problem, Syntax, expect, section, skip_space
from tl_jax.tooluse.text.syntaxes.json_calls import written_as
from tl_jax.tooluse.text.syntaxes.values import checked, json_value, spelled

_MARK = "｜DSML｜"
_INVOKE = re.compile(rf'<{_MARK}invoke name="([^"<>\n]+)">')
_PARAMETER = re.compile(rf'<{_MARK}parameter name="([^"<>\n]+)"(?: string="(true|false)")?>')
_CLOSED = f"</{_MARK}parameter>"


def _invoke(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    opened = _INVOKE.match(text, position)
    if not opened:
        raise Problem(f'expected <{_MARK}invoke name="...">, not {text[position : position + 40]!r}')
    name, arguments, position = opened[1], dict[str, Any](), opened.end()
    while given := _PARAMETER.match(text, skip_space(text, position)):
        key, is_text = given.groups()
        end = text.find(_CLOSED, given.end())
        if end < 0 or _PARAMETER.search(text, given.end(), end):
            raise Problem(f"argument {key!r} is not closed")
        if key in arguments:
            raise Problem(f"argument {key!r} is given twice")
        if len(arguments) == MAX_ARGUMENTS:
            raise Problem(f"more than {MAX_ARGUMENTS} arguments")
        arguments[key] = _value(text[given.end() : end], is_text, name, key, offer)
        position = end + len(_CLOSED)
    return [(Call(name, arguments), ())], expect(text, position, f"</{_MARK}invoke>")


def _value(said: str, is_text: str | None, call: str, key: str, offer: Offer) -> Any:
    """What an argument says: text, JSON, or what the tool's schema wants where the tag does not tell."""
    if is_text is None:
        return spelled(said, offer.tool(call), key)
    if is_text == "true":
        return checked(said)
    found, end = json_value(said, 0)
    if said[end:].strip():
        raise Problem(f"argument {key!r} is not one JSON value")
    return found


def _write(calls: Sequence[Call]) -> str:
    made = "".join(
        f'<{_MARK}invoke name="{call.name}">\n{"".join(map(_argument, call.arguments.items()))}</{_MARK}invoke>\n'
        for call in calls
    )
    return f"<{_MARK}function_calls>\n{made}</{_MARK}function_calls>"


def _argument(item: tuple[str, Any]) -> str:
    key, value = item
    is_text = isinstance(value, str)
    said = value if is_text else written_as(value)
    return f'<{_MARK}parameter name="{key}" string="{str(is_text).lower()}">{said}{_CLOSED}\n'


SYNTAX = Syntax(
    name="dsml",
    description='`<｜DSML｜invoke name="f">` with `<｜DSML｜parameter name="a">` inside, which says if it is text: '
    "DeepSeek V3.2 and V4",
    example=_write([Call("f", {"a": 1})]),
    opening=rf'<{_MARK}(?:function_calls>|tool_calls>|invoke name=")',
    first="<",
    marked=True,
    read=section(_invoke, *((f"<{_MARK}{tag}>", f"</{_MARK}{tag}>") for tag in ("function_calls", "tool_calls"))),
    attempts=special(f"<{_MARK}"),
    write=_write,
    source="https://huggingface.co/deepseek-ai/DeepSeek-V3.2",
)
