"""Pydantic AI's messages: requests and responses of ``parts`` by ``part_kind``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight, unless_cut_off
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import TOOLS, tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_ABOUT = (
    *("timestamp", "usage", "model_name", "provider_name", "provider_details", "provider_url", "provider_response_id"),
    *("vendor_id", "vendor_details", "finish_reason", "run_id", "metadata", "conversation_id", "state"),
)
"""What is noted of a message or part and is no part of what it says."""
_OF_A_PART = ("id", "signature", "dynamic_ref", *_ABOUT)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        offered = tools(fields.take(*TOOLS, default=[]), fields.at(*TOOLS))
        system = fields.take("system", "system_prompt", kind=str, default="")
        turns = fields.each("messages")
        beside = around(fields, place.name, "pydantic_ai")
    padded, dialogue, instructions = is_padded([value for value, _ in turns]), Dialogue(), set[str]()
    for value, where in turns:
        with Fields(value, where) as fields:
            about = fields.keep(*_ABOUT)
            kind, parts = fields.take("kind", kind=str), fields.each("parts")
            weight = message_weight(fields, "assistant" if kind == "response" else "user")
            if kind == "request":
                told = fields.take("instructions", kind=str, default="")
                if told and told not in instructions:  # every request says them again
                    instructions.add(told)
                    dialogue.add(Message("system", told), f"{where}.instructions")
                _request(parts, dialogue, padded)
            elif kind == "response":
                _response(parts, where, unless_cut_off(weight, about), dialogue, by_name(offered), padded)
            else:
                raise DataError(f"must be 'request' or 'response', not {kind!r}", field=f"{where}.kind")
    return [dialogue.trajectory(beside, offered, system, "messages")]


def _request(parts: list[tuple[Any, str]], dialogue: Dialogue, padded: bool) -> None:
    """What the user, the system and the tools say."""
    for value, where in parts:
        with Fields(value, where) as part:
            part.keep(*_OF_A_PART)
            kind = part.take("part_kind", kind=str)
            if kind == "system-prompt":
                dialogue.add(Message("system", part.take("content", kind=str)), where)
            elif kind == "user-prompt":
                dialogue.add(Message("user", _texts(part.take("content"), part.taken)), where)
            elif kind in ("tool-return", "retry-prompt"):
                _result(part, dialogue, padded, failed=kind == "retry-prompt")
            else:
                raise DataError(f"a part of kind {kind!r} cannot be read in a request", field=where)


def _result(part: Fields, dialogue: Dialogue, padded: bool, failed: bool = False) -> None:
    """What a tool returned; or why the model is to try again, which is told to its call, or by the user."""
    name, known_as = part.take("tool_name", kind=str, default=None), identity(part, "tool_call_id")
    failed = part.take("outcome", default="success") != "success" or failed
    said = plain(part.take("content", default=""), padded)
    if name is None:
        dialogue.add(Message("user", said), part.where)
    else:
        dialogue.result(said, f"{part.where}.tool_call_id", known_as, name, failed)


def _response(
    parts: list[tuple[Any, str]],
    where: str,
    weight: float | None,
    dialogue: Dialogue,
    offered: Mapping[str, Tool],
    padded: bool,
) -> None:
    """What the model says. What a tool of its vendor's returns stands among that, and the turn goes on after it."""
    turn, begun = AssistantTurn(), False
    for value, at in parts:
        with Fields(value, at) as part:
            part.keep(*_OF_A_PART)
            kind = part.take("part_kind", kind=str)
            if kind == "text":
                turn.text(part.take("content", kind=str))
            elif kind == "thinking":
                turn.reasoning.append(part.take("content", kind=str))
            elif kind in ("tool-call", "builtin-tool-call"):
                name, known_as = part.take("tool_name", kind=str), identity(part, "tool_call_id")
                given = call_arguments(part, offered.get(name), padded, "args")
                turn.calls.append(Call(name, given, id=known_as))
            elif kind == "builtin-tool-return":
                if turn.says_something:
                    dialogue.add(turn.message(weight), where)
                turn, begun = AssistantTurn(), True
                _result(part, dialogue, padded)
            else:
                raise DataError(f"a part of kind {kind!r} cannot be read in a response", field=at)
    if turn.says_something or not begun:
        dialogue.add(turn.message(weight), where)


def _texts(content: Any, where: str) -> str:
    """A text, or the texts of a list.

    Raises:
        DataError: a picture, or another file.
    """
    texts = [content] if isinstance(content, str) else content
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError("only text can be read", field=where)
    return "\n".join(texts)


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages with parts by ``part_kind``."""
    messages = row.get("messages")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    parts = [part for item in items if isinstance(item.get("parts"), list) for part in item["parts"]]
    return any(isinstance(part, dict) and "part_kind" in part for part in parts)


FORMAT = Format(
    name="pydantic_ai",
    description="Pydantic AI's `messages` by `kind` (`request`, `response`), of `parts` by `part_kind` (`tool-call`, "
    "`tool-return`, `retry-prompt`, `thinking`, ...), and `instructions`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://ai.pydantic.dev/message-history/",
)
