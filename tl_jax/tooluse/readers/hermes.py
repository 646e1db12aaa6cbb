"""Hermes' and Qwen's text in messages by ``role``: ``<tools>`` in the system message, ``<tool_call>``,
``<tool_response>`` and ``<think>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import by_name, named
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.messages import finished, read_row
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tagged import between, calls, offered, results
from tl_jax.tooluse.schema import DataError, Message, Tool, Trajectory

_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_INSTRUCTION = (
    "For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> tags."
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row, with its calls and tools as structure."""
    with Fields(row) as fields:
        found = read_row(fields, place.name)
    tools, messages = structured(found.messages, found.tools)
    if not messages:
        raise DataError("holds nothing but tools", field="messages")
    return [replace(found, tools=tools, messages=messages)]


def structured(messages: Iterable[Message], tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], tuple[Message, ...]]:
    """The tools and messages that the texts of a conversation hold."""
    result: list[Message] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}].content"
        if message.role == "system":
            found, words = offered(message.content, where)
            tools = tools or found
            result += [replace(message, content=words)] if words or not found else []
        elif message.role == "assistant":
            result.append(answer(message, where))
        elif message.role == "tool" or (message.role == "user" and _only_results(message.content)):
            waiting = next((turn.tool_calls for turn in reversed(result) if turn.tool_calls), ())
            split = results(message.content, [call.name for call in waiting])
            if message.call_id is not None and len(split) > 1:
                result.append(message)  # whose id it is nobody could say
                continue
            result += [
                replace(item, name=item.name or message.name, call_id=message.call_id, error=message.error)
                for item in split
            ]
        else:
            result.append(message)
    return tools, finished(by_name(named(result)))


def answer(message: Message, where: str) -> Message:
    """An assistant's message whose text may hold a thought and calls."""
    thought = _THOUGHT.match(message.content)
    said = message.content[thought.end() :] if thought else message.content
    reasoning = thought[1].strip() if thought else ""
    texts, rest = between(said, "tool_call")
    made = tuple(call for text in texts for call in calls(text, f"{where}: tool_call"))
    both = "\n".join(text for text in (message.reasoning, reasoning) if text) or None
    content = rest.strip() if made else said
    return replace(message, content=content, tool_calls=message.tool_calls + made, reasoning=both)


def _only_results(text: str) -> bool:
    """Whether a user's message is results: Qwen's template hands them over as the user's words."""
    texts, rest = between(text, "tool_response")
    return bool(texts) and not rest.strip()


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
