"""Hermes' and Qwen's text in messages by ``role``: ``<tools>`` in the system message, ``<tool_call>``,
``<tool_response>`` and ``<think>``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.messages import read_conversation
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Message, Tool, Trajectory

_INSTRUCTION = (
    "For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> tags."
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row, with its calls and tools as structure."""
    with Fields(row) as fields:
        return [read_conversation(fields, place.name, hermes=True)[1]]


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory in this shape, which has no ids; several results of a turn stand in one message."""
    messages: list[dict[str, Any]] = []
    for role, run in groupby(trajectory.messages, key=lambda message: message.role):
        if role == "tool":
            blocks = [f"<tool_response>\n{_result(message)}\n</tool_response>" for message in run]
            messages.append({"role": "tool", "content": "\n".join(blocks)})
            continue
        for message in run:
            messages.append({"role": role, "content": _said(message)})
            if message.weight is not None:
                messages[-1]["weight"] = message.weight
            if message.name is not None:
                messages[-1]["name"] = message.name
    if trajectory.tools:
        own = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
        messages.insert(0, {"role": "system", "content": f"{own}\n\n{_prompt(trajectory.tools)}".strip()})
    return {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta), "messages": messages}


def _prompt(tools: Sequence[Tool]) -> str:
    shapes = [json.dumps({"type": "function", "function": tool.to_json()}, ensure_ascii=False) for tool in tools]
    return "# Tools\n\n<tools>\n" + "\n".join(shapes) + f"\n</tools>\n\n{_INSTRUCTION}"


def _result(message: Message) -> str:
    if message.name is None:
        return message.content
    return json.dumps({"name": message.name, "content": message.content}, ensure_ascii=False)


def _said(message: Message) -> str:
    if message.role != "assistant":
        return message.content
    parts = [f"<think>\n{message.reasoning}\n</think>"] if message.reasoning else []
    parts += [message.content] if message.content else []
    parts += [
        "<tool_call>\n"
        + json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
        + "\n</tool_call>"
        for call in message.tool_calls
    ]
    return "\n".join(parts)


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages by role, with tools or calls between their tags; what we wrote ourselves is structure already."""
    if {"suite", "meta", "tools"} <= row.keys():
        return False
    messages = row.get("messages") or row.get("conversations")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    for item in items:
        text = item.get("content")
        if item.get("role") == "system" and isinstance(text, str) and "<tools>" in text:
            return True
        if item.get("role") in ("assistant", "model") and isinstance(text, str) and "<tool_call>" in text:
            return True
    return False


FORMAT = Format(
    name="hermes",
    description="messages by `role` whose texts hold `<tools>`, `<tool_call>`, `<tool_response>` and `<think>`, as "
    "Hermes and Qwen write them",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://github.com/NousResearch/Hermes-Function-Calling",
)
