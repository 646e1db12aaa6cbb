"""OpenAI's fine-tuning rows: ``{messages, tools}``, calls with their arguments as JSON text, results by call id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.readers import canonical
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.rows import Place, each_row, parse
from tl_jax.tooluse.schema import DataError, Trajectory

_ROLES = {"developer": "system", "function": "tool"}


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row; without ``id`` it is named after file and line."""
    row = row if isinstance(row, dict) else {}
    identity = place.name if row.get("id") is None else row["id"]
    return [conversation(identity, row.get("messages"), row.get("tools") or row.get("functions"))]


def conversation(identity: Any, messages: Any, tools: Any, where: str = "messages") -> Trajectory:
    """The trajectory of messages and tools in OpenAI's shape, which other formats hold as well.

    Args:
        where: the field that the messages stand in, for errors.

    Raises:
        DataError: a message, call or tool that cannot be read.
    """
    called: dict[str, Any] = {}  # call id -> tool
    try:
        if not isinstance(messages, list):
            raise DataError("must be a list of messages", field="messages")
        read = [_message(value, f"messages[{i}]", called) for i, value in enumerate(messages)]
        return Trajectory.from_json({"id": identity, "tools": tools, "messages": read})
    except DataError as error:
        inside = error.field.startswith("messages")
        field = where + error.field.removeprefix("messages") if inside else error.field
        raise DataError(error.problem, field=field) from None


def _message(value: Any, where: str, called: dict[str, Any]) -> dict[str, Any]:
    """A message in our shape. Remembers the calls it makes in ``called``."""
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    role = value.get("role")
    message = {
        "role": _ROLES.get(role, role) if isinstance(role, str) else role,
        "content": _text(value.get("content"), f"{where}.content"),
        "name": value.get("name"),
        "weight": value.get("weight"),
    }
    calls = value.get("tool_calls") or []
    if not isinstance(calls, list):
        raise DataError("must be a list of calls", field=f"{where}.tool_calls")
    if value.get("function_call"):  # the shape before tool_calls
        calls = [{"function": value["function_call"]}]
    message["tool_calls"] = [_call(call, f"{where}.tool_calls[{i}]", called) for i, call in enumerate(calls)]
    identity = value.get("tool_call_id")
    if identity is not None:
        if str(identity) not in called:
            raise DataError(f"{identity!r} is the id of no earlier call", field=f"{where}.tool_call_id")
        message["name"] = called[str(identity)]
    return message


def _call(value: Any, where: str, called: dict[str, Any]) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise DataError("must be an object with name and arguments", field=f"{where}.function")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = parse(arguments) if arguments.strip() else {}
        except DataError as error:
            raise DataError(error.problem, field=f"{where}.function.arguments") from None
    if value.get("id") is not None:
        called[str(value["id"])] = function.get("name")
    return {"name": function.get("name"), "arguments": arguments}


def _text(content: Any, where: str) -> Any:
    """Content as one text; a list of text parts is joined."""
    if not isinstance(content, list):
        return content
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise DataError("only parts of text can be read", field=f"{where}[{index}]")
    return "".join(part["text"] for part in content)


def _recognises(row: Mapping[str, Any]) -> bool:
    """A list of messages without an ``id``, or in a shape that only OpenAI's API writes."""
    if not isinstance(row.get("messages"), list) or canonical.is_case(row):
        return False
    tools = any(_has(tool, "function") for tool in _list(row.get("tools")))
    return row.get("id") is None or tools or any(map(_is_openai, row["messages"]))


def _is_openai(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    calls = any(_has(call, "function") for call in _list(message.get("tool_calls")))
    return calls or isinstance(message.get("content"), list) or "tool_call_id" in message or "function_call" in message


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _has(value: Any, key: str) -> bool:
    return isinstance(value, dict) and key in value


FORMAT = Format(
    name="openai",
    description="`messages` and `tools` of OpenAI's API and fine-tuning files; `arguments` of calls are JSON text",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://platform.openai.com/docs/api-reference/fine-tuning/chat-input",
)
