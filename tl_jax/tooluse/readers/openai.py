"""OpenAI's fine-tuning rows: ``{messages, tools}``, calls with their arguments as JSON text, results by call id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers import canonical
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.messages import read_row
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row; without ``id`` it is named after file and line."""
    with Fields(row) as fields:
        return [read_row(fields, place.name)]


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
