"""OpenAI's fine-tuning rows: ``{messages, tools}``, calls with their arguments as JSON text, results by call id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers.rows import OnError, Place, Report, parse, read_rows
from tl_jax.tooluse.schema import DataError, Trajectory

_ROLES = {"developer": "system", "function": "tool"}


def read(path: str | Path, on_error: OnError = "raise", report: Report | None = None) -> Iterator[Trajectory]:
    """Trajectories; a row without ``id`` is named after file and line. See `read_rows` for errors."""
    return read_rows(path, trajectories, on_error, report)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        raise DataError("must be a list of messages", field="messages")
    called: dict[str, Any] = {}  # call id -> tool
    messages = [_message(value, f"messages[{i}]", called) for i, value in enumerate(row["messages"])]
    identity = place.name if row.get("id") is None else row["id"]
    tools = row.get("tools") or row.get("functions")
    return [Trajectory.from_json({"id": identity, "tools": tools, "messages": messages})]


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
