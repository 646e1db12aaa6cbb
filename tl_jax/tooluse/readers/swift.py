"""ms-swift (https://swift.readthedocs.io): messages by ``tool_call`` and ``tool_response``, tools as JSON text.

Calls of one turn stand one after another, after the text of the turn. Older files have ``query``, ``response`` and
``history``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import Dialogue, around
from tl_jax.tooluse.readers.fields import identity
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.message_fields import SMOLAGENTS, SPEAKERS, failed, message_text, message_weight
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tagged import calls
from tl_jax.tooluse.readers.tool_lists import TOOLS
from tl_jax.tooluse.schema import DataError, Message, Trajectory

CALLS, RESULTS = (
    tuple(name for name, role in SPEAKERS.items() if role == kind and name not in SMOLAGENTS)
    for kind in ("call", "tool")
)
"""Roles of messages that are a call, and a result."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        where = fields.at("messages", "response")
        turns = _history(fields) if "response" in fields else fields.each("messages")
        reader = MessageReader(padded=is_padded([value for value, _ in turns]))
        reader.offer(fields, *TOOLS)
        system = fields.take("system", kind=str, default="")
        beside = around(fields, place.name, "swift", "channel")
    dialogue = dialogue_of(turns, reader)
    return [dialogue.trajectory(beside, reader.tools, system, where)]


def dialogue_of(turns: Iterable[tuple[Any, str]], reader: MessageReader) -> Dialogue:
    """The conversation of messages some of which are a call or a result by their role."""
    dialogue = Dialogue()
    for value, where in turns:
        role = str(value.get("role")).lower() if isinstance(value, dict) else ""
        if role in CALLS:
            with Fields(value, where) as fields:
                fields.take("role")
                content, weight = fields.take("content"), message_weight(fields)
                thoughts = fields.take("reasoning_content", kind=str, default="") or None
            made = tuple(calls(content, f"{where}.content", reader.tools, reader.padded))
            dialogue.join(Message("assistant", "", made, weight=weight, reasoning=thoughts), where)
        elif role in RESULTS:
            with Fields(value, where) as fields:
                fields.take("role")
                known_as, name = identity(fields, "tool_call_id"), fields.take("name", kind=str, default=None)
                said = message_text(fields, result=True, padded=reader.padded)
                error = bool(failed(fields)) or said.failed
                message_weight(fields, "tool")
            dialogue.result(said.text, f"{where}.tool_call_id", known_as, name, error)
        else:
            dialogue.add(reader.message(value, where), where)
    return dialogue


def _history(row: Fields) -> list[tuple[Any, str]]:
    """The messages of an older row: earlier questions with their answers, the question, and its answer."""
    pairs = []
    for value, where in row.each("history"):
        if not isinstance(value, list) or len(value) != 2:
            raise DataError("must be a question and its answer", field=where)
        pairs += [({"role": "user", "content": value[0]}, where), ({"role": "assistant", "content": value[1]}, where)]
    question, answer = row.take("query", kind=str, default=""), row.take("response", kind=str)
    asked = [({"role": "user", "content": question}, "query")] if question else []
    return [*pairs, *asked, ({"role": "assistant", "content": answer}, "response")]


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory in this shape, which has neither ids, nor names of results, nor thoughts of its own."""
    messages: list[dict[str, Any]] = []
    for message in trajectory.messages:
        weight = {} if message.weight is None else {"loss": bool(message.weight)}
        if message.role == "tool":
            messages.append({"role": "tool_response", "content": message.content})
        elif message.content or not message.tool_calls:
            messages.append({"role": message.role, "content": message.content, **weight})
        for call in message.tool_calls:
            said = json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
            messages.append({"role": "tool_call", "content": said, **weight})
    shapes = [{"type": "function", "function": tool.to_json()} for tool in trajectory.tools]
    beside = {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta)}
    return {**beside, "tools": json.dumps(shapes, ensure_ascii=False), "messages": messages}


def _recognises(row: Mapping[str, Any]) -> bool:
    """A message whose role says that it is a call or a result, or a question, its answer and what came before."""
    messages = row.get("messages")
    if isinstance(messages, list):
        roles = [str(message.get("role")).lower() for message in messages if isinstance(message, dict)]
        return any(role in (*CALLS, "tool_response") for role in roles)
    return isinstance(row.get("query"), str) and isinstance(row.get("response"), str)


FORMAT = Format(
    name="swift",
    description="ms-swift: `messages` by `tool_call` and `tool_response`, `tools` as JSON text, `loss`; older: "
    "`query`, `response`, `history`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://swift.readthedocs.io/en/latest/Instruction/Agent-support.html",
)
