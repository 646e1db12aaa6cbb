"""The paper's raw format: ``{id, conversations: [{role, content}]}``.

The first message's content is the JSON list of the tools, an assistant's content is ``name``, a line break and the
arguments as JSON, and a tool result has the role ``function``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields, row_id
from tl_jax.tooluse.pairing import named
from tl_jax.tooluse.readers.fields import described
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight
from tl_jax.tooluse.readers.rows import Place, each_row, parse
from tl_jax.tooluse.schema import Call, DataError, Message, Role, Tool, Trajectory

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "function": "tool",
    "tool": "tool",
}


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row."""
    with Fields(row if isinstance(row, dict) else {}) as fields:
        conversations = fields.take("conversations", default=None)
        if not isinstance(conversations, list) or len(conversations) < 2:
            raise DataError("must be a list of messages: the tools, then the conversation", field="conversations")
        identity, meta = row_id(fields), described(fields)
    with Fields(conversations[0], "conversations[0]") as first:
        first.expect("role", "system")
        tools = _tools(first.take("content", kind=str), "conversations[0].content")
    messages = [_message(value, f"conversations[{index}]") for index, value in enumerate(conversations[1:], 1)]
    return [Trajectory(identity, tools, tuple(named(messages)), meta=meta)]


def _tools(content: str, where: str) -> tuple[Tool, ...]:
    try:
        tools = parse(content)
    except DataError as error:
        raise DataError(f"must be the tools as a JSON list, but {error.problem}", field=where) from None
    if not isinstance(tools, list):
        raise DataError(f"must be the tools as a JSON list, not {type(tools).__name__}", field=where)
    return tuple(Tool.from_json(tool, f"{where}[{i}]") for i, tool in enumerate(tools))


def _message(value: Any, where: str) -> Message:
    """One message."""
    with Fields(value, where) as fields:
        name, content = fields.take("role", kind=str), fields.take("content", kind=str)
        role = _ROLES.get(name)
        if role is None:
            raise DataError(f"unknown role {name!r}; expected one of {', '.join(_ROLES)}", field=f"{where}.role")
        weight = message_weight(fields, role)
    if role == "assistant" and (call := _call(content)):
        return Message(role, tool_calls=(call,), weight=weight)
    message = Message(role, content, weight=weight)
    message.check(where)
    return message


def _call(content: str) -> Call | None:
    """The call that an assistant's whole content is, or None for a turn of text."""
    name, _, arguments = content.partition("\n")
    if not re.fullmatch(r"[\w.-]+\s*", name):
        return None
    try:
        value = parse(arguments)
    except DataError:
        return None
    return Call(name.strip(), value) if isinstance(value, dict) else None


def _recognises(row: Mapping[str, Any]) -> bool:
    """Conversations whose first message is, by its role and content, a list of tools."""
    turns = row.get("conversations")
    first = turns[0] if isinstance(turns, list) and turns else None
    content = first.get("content") if isinstance(first, dict) and first.get("role") == "system" else None
    return isinstance(content, str) and content.lstrip().startswith("[")


FORMAT = Format(
    name="tl",
    description="the paper's raw rows: `id` and `conversations` by `user`, `assistant` and `function`, after a first "
    "message with the tools as JSON; a call is its name, a newline and its arguments as JSON",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://github.com/Junjie-Ye/TL-Training",
)
