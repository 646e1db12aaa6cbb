"""Anthropic's Messages API: blocks, calls as ``tool_use``, results as ``tool_result`` in a user's message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.pairing import pairs
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.message_fields import (
    ENCRYPTED,
    REASONING,
    as_lines,
    document_text,
    message_weight,
    unless_cut_off,
)
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.openai import call_ids
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
"""Blocks that are calls: of tools here, of Anthropic's own and of an MCP server, which Anthropic makes itself."""
_BLOCKS = (*_CALLS, "tool_result", "mcp_tool_result", "thinking", "redacted_thinking")
_SETTINGS = (
    *("max_tokens", "stop_sequences", "stream", "temperature", "thinking", "top_k", "service_tier", "betas"),
    *("tool_choice", "output_config", "output_format", "container", "mcp_servers", "context_management"),
)
_ENCRYPTED = {"encrypted_content", "encrypted_index"}
ENCRYPTED_RESULT = "encrypted results left out: nobody but their vendor can read them"
_OF_A_BLOCK = ("cache_control", "citations", "caller")
"""Where a prompt may be cached, where a text comes from, who may call: nothing that the model says."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        own = "suite" in fields and "meta" in fields
        system = _text(fields.take("system", default=""), "system")
        turns = fields.each("messages")
        padded = is_padded([value for value, _ in turns]) or (None if own else False)
        offered = tools(fields.take("tools", default=[]), "tools", padded)
        beside = around(fields, place.name, "anthropic", *_SETTINGS)
    dialogue = Dialogue()
    for value, where in turns:
        _message(value, where, dialogue, by_name(offered), padded)
    return [dialogue.trajectory(beside, offered, system, "messages")]


def _message(value: Any, where: str, dialogue: Dialogue, offered: Mapping[str, Tool], padded: bool | None) -> None:
    with Fields(value, where) as fields:
        role = fields.take("role", kind=str)
        content = fields.take("content", default="")
        weight = message_weight(fields, role)
        about = fields.keep("id", "type", "model", "stop_reason", "stop_sequence", "usage")  # of an answer of the API
        weight = unless_cut_off(weight, about) if role == "assistant" else weight
    if role == "tool" and isinstance(content, list) and content and all(map(_is_result, content)):
        role = "user"  # as people write it who know OpenAI's messages
    if role not in ("user", "assistant", "system"):
        raise DataError(f"unknown role {role!r}; expected user, assistant or system", field=f"{where}.role")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list):
        raise DataError(f"must be text or a list of blocks, not {type(blocks).__name__}", field=f"{where}.content")
    opened = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    if role == "assistant":
        _answer(opened, where, weight, dialogue, offered, padded)
    else:
        _told(opened, where, weight, dialogue, "user" if role == "user" else "system", padded)


def _answer(
    blocks: Sequence[Any],
    where: str,
    weight: float | None,
    dialogue: Dialogue,
    offered: Mapping[str, Tool],
    padded: bool | None,
) -> None:
    """What the model says. What tools that Anthropic runs return stands among it, and the turn goes on after that."""
    turn, begun = AssistantTurn(), False
    for index, block in enumerate(blocks):
        at = f"{where}.content[{index}]"
        with Fields(block, at) as fields:
            kind = fields.take("type", kind=str)
            if kind.endswith("_tool_result"):
                if turn.says_something:
                    dialogue.add(turn.message(weight), where)
                turn, begun = AssistantTurn(), True
                _result(fields, dialogue, at, padded)
            else:
                _part(kind, fields, turn, offered, padded)
            fields.keep(*_OF_A_BLOCK)
    if turn.says_something or not begun:
        dialogue.add(turn.message(weight), where)


def _told(
    blocks: Sequence[Any],
    where: str,
    weight: float | None,
    dialogue: Dialogue,
    role: Literal["user", "system"],
    padded: bool | None,
) -> None:
    """What the user says, and the results that stand among it; or a system text."""
    texts, answered = list[str](), False
    for index, block in enumerate(blocks):
        at = f"{where}.content[{index}]"
        with Fields(block, at) as fields:
            kind = fields.take("type", kind=str)
            if kind == "tool_result" and role == "user":
                if texts:
                    dialogue.add(Message("user", "".join(texts), weight=weight), where)
                    texts = []
                _result(fields, dialogue, at, padded)
                answered = True
            elif kind == "text":
                texts.append(fields.take("text", kind=str))
            elif kind == "document":
                texts.append(document_text(fields))
            else:
                raise DataError(f"a block of type {kind!r} cannot be read in a message of {role!r}", field=at)
            fields.keep(*_OF_A_BLOCK)
    if texts or not answered:
        dialogue.add(Message(role, "".join(texts), weight=weight), where)


def _part(kind: str, block: Fields, turn: AssistantTurn, offered: Mapping[str, Tool], padded: bool | None) -> None:
    """One block of an assistant's message."""
    match kind:
        case "text":
            turn.text(block.take("text", kind=str))
        case "thinking":
            turn.reasoning.append(block.take("thinking", kind=str))
            block.take("signature", default=None)
        case "redacted_thinking":
            block.take("data")
            remark(ENCRYPTED)
        case _ if kind in _CALLS:
            block.keep("server_name")
            name, known_as = block.take("name", kind=str), identity(block, "id")
            given = call_arguments(block, offered.get(name), padded, "input")
            turn.calls.append(Call(name, given, id=known_as))
        case _:
            raise DataError(f"a block of type {kind!r} cannot be read", field=block.where)


def _result(block: Fields, dialogue: Dialogue, where: str, padded: bool | None) -> None:
    known_as = identity(block, "tool_use_id")
    said = block.take("content", default="")
    error = block.take("is_error", kind=bool, default=False) or _is_error(said)
    content = (
        plain(_readable(said), bool(padded)) if _is_of_a_server(said) else _text(said, f"{where}.content", as_lines)
    )
    dialogue.result(content, f"{where}.tool_use_id", known_as, error=error)


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_result"


def _is_of_a_server(content: Any) -> bool:
    """Whether it is what one of Anthropic's own tools returned: an object, or a list of something else than text."""
    kinds = [item.get("type") for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    return isinstance(content, dict) or any(isinstance(kind, str) and kind.endswith("_result") for kind in kinds)


def _is_error(content: Any) -> bool:
    return isinstance(content, dict) and str(content.get("type")).endswith("_tool_result_error")


def _readable(value: Any) -> Any:
    """The value without what only Anthropic can read."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() & _ENCRYPTED:
        remark(ENCRYPTED_RESULT)
    return {key: _readable(item) for key, item in value.items() if key not in _ENCRYPTED}


def _text(value: Any, where: str, together: Callable[[Sequence[str]], str] = "".join) -> str:
    """Text, or that of blocks of text."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise DataError(f"must be text or a list of blocks, not {type(value).__name__}", field=where)
    texts = []
    for index, block in enumerate(value):
        with Fields(block, f"{where}[{index}]") as fields:
            kind = fields.take("type", default="text")
            if kind not in ("text", "document"):
                raise DataError("only blocks of text can be read", field=fields.where)
            texts.append(document_text(fields) if kind == "document" else fields.take("text", kind=str))
            fields.keep(*_OF_A_BLOCK)
    return together(texts)


def _recognises(row: Mapping[str, Any]) -> bool:
    """A message with a block that only this API has, and none with a field of OpenAI's.

    Mistral's thoughts are blocks as well, of parts.
    """
    listed = row.get("messages")
    messages = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    if any(item.get(name) for item in messages for name in ("tool_calls", *REASONING)):
        return False
    blocks = [block for item in messages if isinstance(item.get("content"), list) for block in item["content"]]
    own = any(
        isinstance(block, dict) and block.get("type") in _BLOCKS and not isinstance(block.get("thinking"), list)
        for block in blocks
    )
    system = row.get("system")
    return own or (bool(messages) and isinstance(system, list) and all(_is_block(item) for item in system))


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory in this shape. Calls without an id are numbered, as the API wants ids."""
    messages, call_of = list(trajectory.messages), pairs(trajectory.messages).call_of
    ids = call_ids(trajectory, "toolu_")
    first = messages[0].content if messages and messages[0].role == "system" else None
    written: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if index == 0 and first:
            continue
        if message.role == "tool":
            block: dict[str, Any] = {"type": "tool_result", "content": message.content}
            known_as = message.call_id or ids.get(call_of.get(index, (-1, -1)))
            block |= {"tool_use_id": known_as} if known_as else {}
            block |= {"is_error": True} if message.error else {}
            if index and messages[index - 1].role == "tool":
                written[-1]["content"].append(block)
            else:
                written.append({"role": "user", "content": [block]})
        elif message.role == "assistant" and (message.tool_calls or message.reasoning):
            blocks: list[dict[str, Any]] = []
            blocks += [{"type": "thinking", "thinking": message.reasoning}] if message.reasoning else []
            blocks += [{"type": "text", "text": message.content}] if message.content else []
            blocks += [
                {"type": "tool_use", "id": ids[index, number], "name": call.name, "input": dict(call.arguments)}
                for number, call in enumerate(message.tool_calls)
            ]
            written.append({"role": "assistant", "content": blocks})
        else:
            written.append({"role": message.role, "content": message.content})
        if message.weight is not None:
            written[-1]["weight"] = message.weight
    offered = [
        {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters), **tool.extra}
        for tool in trajectory.tools
    ]
    beside = {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta)}
    return {**beside, **({"system": first} if first else {}), "tools": offered, "messages": written}


FORMAT = Format(
    name="anthropic",
    description="Anthropic's Messages API: `system`, `tools` with `input_schema`, `messages` of blocks (`tool_use`, "
    "`tool_result`, `thinking`)",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://docs.anthropic.com/en/api/messages",
)
