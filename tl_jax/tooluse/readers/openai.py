"""OpenAI's fine-tuning rows: ``{messages, tools}``, calls with their arguments as JSON text, results by call id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.readers import canonical
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.messages import MESSAGES, read_row
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Call, Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row; without ``id`` it is named after file and line."""
    with Fields(row) as fields:
        return [read_row(fields, place.name)]


def _recognises(row: Mapping[str, Any]) -> bool:
    """A list of messages without an ``id``, or in a shape that only OpenAI's API writes; or under another name."""
    if canonical.is_case(row):
        return False
    if not isinstance(row.get("messages"), list):
        return any(map(_are_messages, (row.get(name) for name in MESSAGES)))
    tools = any(_has(tool, "function") for tool in _list(row.get("tools")))
    return row.get("id") in (None, "") or tools or any(map(_is_openai, row["messages"]))


def _are_messages(value: Any) -> bool:
    """Whether a field holds messages by role, as a list or as JSON text."""
    if isinstance(value, str):
        return value.lstrip().startswith("[") and any(name in value for name in ('"role"', "'role'"))
    return isinstance(value, list) and bool(value) and all(_has(item, "role") for item in value)


def _is_openai(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    calls = any(_has(call, "function") for call in _list(message.get("tool_calls")))
    return calls or isinstance(message.get("content"), list) or "tool_call_id" in message or "function_call" in message


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _has(value: Any, key: str) -> bool:
    return isinstance(value, dict) and key in value


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory in this shape. Calls without an id are numbered, as the API wants ids."""
    ids, call_of = call_ids(trajectory, "call_"), pairs(trajectory.messages).call_of
    messages = []
    for index, message in enumerate(trajectory.messages):
        value: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            value["content"] = message.content or None
            value["tool_calls"] = [
                {"id": ids[index, number], "type": "function", "function": _function(call)}
                for number, call in enumerate(message.tool_calls)
            ]
        known_as = message.call_id or ids.get(call_of.get(index, (-1, -1)))
        optional = {
            "tool_call_id": known_as if message.role == "tool" else None,
            "name": message.name,
            "weight": message.weight,
            "reasoning_content": message.reasoning,
            "refusal": message.refusal,
        }
        messages.append(value | {key: item for key, item in optional.items() if item is not None})
    tools = [{"type": "function", "function": tool.to_json()} for tool in trajectory.tools]
    beside = {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta)}
    return {**beside, "tools": tools, "messages": messages}


def _function(call: Call) -> dict[str, Any]:
    return {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)}


def call_ids(trajectory: Trajectory, prefix: str) -> dict[tuple[int, int], str]:
    """The id of every call, by its message and number: its own, or one that no other call has."""
    calls = {(i, n): call for i, message in trajectory.turns for n, call in enumerate(message.tool_calls)}
    taken = {call.id for call in calls.values()}
    free = (name for number in count() if (name := f"{prefix}{number}") not in taken)
    return {place: call.id or next(free) for place, call in calls.items()}


FORMAT = Format(
    name="openai",
    description="`messages` and `tools` of OpenAI's API and fine-tuning files; `arguments` of calls are JSON text",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://platform.openai.com/docs/api-reference/fine-tuning/chat-input",
)
