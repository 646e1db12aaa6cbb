"""Conversations in the form ``Thought: ... Action: ... Action Input: {...}``, with the tools in the system prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.fields import arguments, literal
from tl_jax.tooluse.schema import Call, DataError, Message, Tool
from tl_jax.tooluse.strict_json import DECODER

_ACTION = re.compile(r"^[ \t]*Action:(.*)\n\s*Action Input:", re.MULTILINE)


def tools(prompt: str, marker: str, where: str) -> tuple[Tool, ...]:
    """The tools that a system prompt lists, as JSON or Python, after ``marker``.

    Raises:
        DataError: no such list, or a tool in it that is none.
    """
    _, found, listed = prompt.partition(marker)
    listed = listed.lstrip()
    if not found or not listed.startswith("["):
        raise DataError(f"has no list of tools after {marker!r}", field=where)
    try:
        values, _ = DECODER.raw_decode(listed)
    except (ValueError, RecursionError):
        values = literal(listed[: listed.rfind("]") + 1], where)
    return tuple(Tool.from_json(value, f"{where}: tools[{i}]") for i, value in enumerate(values))


def call(text: str, where: str) -> tuple[str, Call]:
    """The thought and the call of an assistant's answer.

    Raises:
        DataError: it makes no call, or its arguments cannot be read.
    """
    match = _ACTION.search(text)
    if not match or not match[1].strip():
        raise DataError("has no line 'Action:' followed by 'Action Input:'", field=where)
    return _thought(text[: match.start()]), Call(
        match[1].strip(), arguments(text[match.end() :], f"{where}: Action Input")
    )


def messages(conversation: Sequence[Any], where: str = "conversations") -> list[Message]:
    """The turns of a conversation ``[{from, value}]``; its system prompt, which describes this very form, is left out.

    Raises:
        DataError: a message that cannot be read.
    """
    result: list[Message] = []
    for index, item in enumerate(conversation):
        place = f"{where}[{index}]"
        with Fields(item, place) as fields:
            role, value = fields.take("from", kind=str), fields.take("value", kind=str)
        match role:
            case "system":
                pass
            case "user" | "human":
                result.append(Message("user", question(value)))
            case "assistant" | "gpt" if _ACTION.search(value):
                thought, made = call(value, f"{place}.value")
                result.append(Message("assistant", thought, (made,)))
            case "assistant" | "gpt":
                result.append(Message("assistant", _thought(value)))
            case "function" | "tool" | "observation":
                result.append(Message("tool", value))
            case _:
                raise DataError(f"unknown speaker {role!r}", field=f"{place}.from")
    return named(result)


def said(item: Any, where: str) -> str:
    """What a turn ``{from, value}`` says.

    Raises:
        DataError: it is something else.
    """
    with Fields(item, where) as fields:
        fields.take("from", kind=str)
        return fields.take("value", kind=str)


def question(text: str) -> str:
    """A user's words without the ``Begin!`` after them."""
    return text.removesuffix("\nBegin!\n").removeprefix("\n")


def _thought(text: str) -> str:
    return text.strip().removeprefix("Thought:").strip()
