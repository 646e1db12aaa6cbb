"""The paper's raw format: ``{id, conversations: [{role, content}]}``.

The first message's content is the JSON list of the tools, an assistant's content is ``name``, a line break and the
arguments as JSON, and a tool result has the role ``function``.
"""

from __future__ import annotations

import re
from typing import Any

from tl_jax.tooluse.readers.fields import member
from tl_jax.tooluse.readers.format import Format, has
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
    conversations = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(conversations, list) or len(conversations) < 2:
        raise DataError("must be a list of messages: the tools, then the conversation", field="conversations")
    if row.get("id") is None:
        raise DataError("is missing", field="id")
    where = "conversations[0].content"
    tools = _tools(member(conversations[0], "content", str, "conversations[0]"), where)
    messages: list[Message] = []
    for index, value in enumerate(conversations[1:], 1):
        messages.append(_message(value, f"conversations[{index}]", _last_called(messages)))
    return [Trajectory(str(row["id"]), tools, tuple(messages))]


def _tools(content: str, where: str) -> tuple[Tool, ...]:
    try:
        tools = parse(content)
    except DataError as error:
        raise DataError(f"must be the tools as a JSON list, but {error.problem}", field=where) from None
    if not isinstance(tools, list):
        raise DataError(f"must be the tools as a JSON list, not {type(tools).__name__}", field=where)
    return tuple(Tool.from_json(tool, f"{where}[{i}]") for i, tool in enumerate(tools))


def _message(value: Any, where: str, called: str | None) -> Message:
    """One message; ``called`` is the tool whose result it may be."""
    name, content = member(value, "role", str, where), member(value, "content", str, where)
    role = _ROLES.get(name)
    if role is None:
        raise DataError(f"unknown role {name!r}; expected one of {', '.join(_ROLES)}", field=f"{where}.role")
    if role == "assistant" and (call := _call(content)):
        return Message(role, tool_calls=(call,))
    return Message(role, content, name=called if role == "tool" else None)


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


def _last_called(messages: list[Message]) -> str | None:
    """The tool that the latest assistant message calls."""
    latest = next((message for message in reversed(messages) if message.role == "assistant"), None)
    return latest.tool_calls[0].name if latest and latest.tool_calls else None


FORMAT = Format(
    name="tl",
    description="the paper's raw rows: `id` and `conversations` by `user`, `assistant` and `function`, after a first "
    "message with the tools as JSON; a call is its name, a newline and its arguments as JSON",
    recognises=has("conversations"),
    trajectories=each_row(trajectories),
    source="https://github.com/Junjie-Ye/TL-Training",
)
