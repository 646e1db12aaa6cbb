"""LLaMA-Factory v1: messages whose content is a list of ``{type, value}``, and ``loss_weight``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.message_fields import as_lines, message_weight, role_named
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tagged import calls
from tl_jax.tooluse.readers.tool_lists import tools
from tl_jax.tooluse.schema import DataError, Message, Tool, Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        turns = fields.each("messages")
        offered = tools(fields.take("tools", default=[]), "tools", is_padded([value for value, _ in turns]))
        beside = around(fields, place.name, "llamafactory", "extra_info", "_dataset_name")
    dialogue = Dialogue()
    for value, where in turns:
        offered = _message(value, where, dialogue, offered)
    return [dialogue.trajectory(beside, offered, "", "messages")]


def _message(value: Any, where: str, dialogue: Dialogue, offered: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Adds a message; returns the tools, which one of its parts may hold."""
    with Fields(value, where) as fields:
        role = role_named(written := fields.take("role", kind=str))
        if role not in ("system", "user", "assistant", "tool"):
            raise DataError(f"unknown role {written!r}", field=f"{where}.role")
        weight = message_weight(fields, role)
        parts = fields.take("content", default=[])
    turn = AssistantTurn()
    values = [{"type": "text", "value": parts}] if isinstance(parts, str) else parts
    for index, part in enumerate(values if isinstance(values, list) else [values]):
        at = f"{where}.content[{index}]"
        with Fields(part, at) as fields:
            kind = fields.take("type", kind=str)
            text = fields.take("value", "text", kind=str)
        if kind == "tools":
            found = tools(text, f"{at}.value")
            if offered and found != offered:
                raise DataError("other tools are offered elsewhere in the row", field=at)
            offered = found
        elif kind == "text":
            turn.text(text)
        elif kind == "reasoning" and role == "assistant":
            turn.reasoning.append(text)
        elif kind in ("tool_call", "tool_calls") and role == "assistant":
            turn.calls += calls(text, f"{at}.value")
        else:
            raise DataError(f"a part of type {kind!r} cannot be read in a message of {role!r}", field=at)
    content = as_lines(turn.texts) if role == "tool" else "".join(turn.texts)
    if role == "assistant":
        dialogue.add(turn.message(weight), where)
    elif role == "tool":
        dialogue.result(content, where)
    else:
        dialogue.add(Message("system" if role == "system" else "user", content, weight=weight), where)
    return offered


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory in this shape, which has neither ids nor names of results."""
    messages = []
    for message in trajectory.messages:
        parts = [("reasoning", message.reasoning)] if message.reasoning else []
        parts += [("text", message.content)] if message.content or not message.tool_calls else []
        parts += [
            ("tool_call", json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False))
            for call in message.tool_calls
        ]
        content = [{"type": kind, "value": value} for kind, value in parts]
        messages.append({"role": message.role, "content": content})
        if message.role != "assistant":
            messages[-1]["loss_weight"] = 0.0  # type: ignore[assignment]
        elif message.weight is not None:
            messages[-1]["loss_weight"] = message.weight  # type: ignore[assignment]
    shapes = [{"type": "function", "function": tool.to_json()} for tool in trajectory.tools]
    beside = {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta)}
    return {**beside, "tools": json.dumps(shapes, ensure_ascii=False), "messages": messages}


def _recognises(row: Mapping[str, Any]) -> bool:
    """A content of parts that have a ``value``."""
    messages = row.get("messages")
    contents = (
        [item.get("content") for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    )
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("value") is not None for part in parts)


FORMAT = Format(
    name="llamafactory",
    description="LLaMA-Factory v1: `messages` with contents of `{type, value}` (`text`, `reasoning`, `tool_call`) and "
    "`loss_weight`. Its older files are `sharegpt`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://github.com/hiyouga/LLaMA-Factory",
)
