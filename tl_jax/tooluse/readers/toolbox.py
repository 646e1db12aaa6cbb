"""The tools of data sets that do not write them down: from a file beside, or as far as the calls show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from tl_jax.tooluse.readers.rows import read_rows
from tl_jax.tooluse.readers.schemas import from_value
from tl_jax.tooluse.schema import Call, Message, Tool


def beside(path: str | Path) -> tuple[Tool, ...] | None:
    """The tools in ``NAME.tools.json`` or ``tools.json`` next to a file: a list, flat or in OpenAI's shape.

    Raises:
        DataError: there is such a file, and something in it is no tool.
    """
    path = Path(path)
    for candidate in tools_beside(path):
        if candidate.is_file() and candidate != path:
            return tuple(read_rows(candidate, lambda row, place: [Tool.from_json(row)]))
    return None


def tools_beside(path: Path) -> tuple[Path, ...]:
    """Where `beside` looks for the tools of a file; the first that is there counts."""
    return path.with_name(f"{path.stem}.tools.json"), path.with_name("tools.json")


def is_tools(path: PurePath) -> bool:
    """Whether a file is named as one that `beside` looks for."""
    return path.name.endswith("tools.json")


def inferred(calls: Iterable[Call]) -> tuple[Tool, ...]:
    """Tools that fit all calls: every argument ever given, required where no call of the tool lacks it."""
    seen: dict[str, list[Call]] = {}
    for call in calls:
        seen.setdefault(call.name, []).append(call)
    return tuple(_fitting(name, made) for name, made in seen.items())


def calls_of(messages: Iterable[Message]) -> list[Call]:
    """Every call in a conversation."""
    return [call for message in messages for call in message.tool_calls]


def _fitting(name: str, calls: Sequence[Call]) -> Tool:
    properties: dict[str, Any] = {}
    for call in calls:
        for key, value in call.arguments.items():
            properties.setdefault(key, from_value(value))
    required = [key for key in properties if all(key in call.arguments for call in calls)]
    return Tool(name, "", {"type": "object", "properties": properties, "required": required})


def joined(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The conversation with a text and the call that the assistant makes right after it as one turn.

    Where the weights of the two differ they stay two turns.
    """
    result: list[Message] = []
    for message in messages:
        last = result[-1] if result else None
        both = last is not None and last.role == message.role == "assistant" and last.weight == message.weight
        if last and both and message.tool_calls and not last.tool_calls:
            text = "\n".join(part for part in (last.content, message.content) if part)
            reasoning = "\n".join(part for part in (last.reasoning, message.reasoning) if part) or None
            result[-1] = replace(last, content=text, tool_calls=message.tool_calls, reasoning=reasoning)
        else:
            result.append(message)
    return tuple(result)
