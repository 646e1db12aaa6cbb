"""What a chat template is given: OpenAI's dictionaries of messages and tools, every call with an id."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.schema import Call, Message, Tool

ANY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Ids that are handed on as a file has them. What else a file may call an id could be a control token."""
NINE = re.compile(r"[A-Za-z0-9]{9}")
"""The only ids that Mistral's templates take."""


def template_messages(
    messages: Sequence[Message], ids: re.Pattern[str] = ANY_ID, arguments_as_text: bool = False
) -> list[dict[str, Any]]:
    """The messages, with the ids of calls and results.

    A call keeps its own id if the template takes it (``ids``) and no earlier call has it; others are numbered. A result
    has the id of its call (`pairs`). What stands later in the conversation changes no id.

    Args:
        messages: of the conversation.
        ids: which ids are handed on.
        arguments_as_text: a call's arguments are JSON in a text, as OpenAI's API has them.
    """
    rows: list[dict[str, Any]] = []
    call_of = pairs(messages).call_of
    given: dict[tuple[int, int], str] = {}
    taken: set[str] = set()
    for index, message in enumerate(messages):
        row: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.name is not None:
            row["name"] = message.name
        if message.tool_calls:
            for number, call in enumerate(message.tool_calls):
                given[index, number] = _id(call.id, ids, taken, len(given))
                taken.add(given[index, number])
            row["tool_calls"] = [
                _call(call, given[index, i], arguments_as_text) for i, call in enumerate(message.tool_calls)
            ]
        if message.role == "tool":
            own = message.call_id
            row["tool_call_id"] = given[call_of[index]] if index in call_of else _id(own, ids, taken, len(given))
        rows.append(row)
    return rows


def template_tool(tool: Tool) -> dict[str, Any]:
    """Templates may loop over the properties: a tool without parameters gets an empty set of them."""
    schema = {"type": "object", "properties": {}, **tool.parameters}
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", "function": function}


def _call(call: Call, known_as: str, arguments_as_text: bool) -> dict[str, Any]:
    arguments = dict(call.arguments)
    written = json.dumps(arguments, ensure_ascii=False) if arguments_as_text else arguments
    function = {"name": call.name, "arguments": written}
    return {"id": known_as, "type": "function", "function": function}


def _id(own: str | None, ids: re.Pattern[str], taken: set[str], number: int) -> str:
    """The next id: a call's own, or its number in nine characters."""
    return own if own is not None and ids.fullmatch(own) and own not in taken else f"call{number:05d}"
