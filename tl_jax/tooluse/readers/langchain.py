"""LangChain's messages by ``type`` (human, ai, tool): as they are, from ``messages_to_dict``, or dumped with ``lc``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import identity
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import THOUGHTS, message_text, message_weight, thoughts, unless_cut_off
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Call, DataError, Message, Trajectory

_ROLES = {
    **dict.fromkeys(("human", "HumanMessage", "HumanMessageChunk", "user"), "user"),
    **dict.fromkeys(("ai", "AIMessage", "AIMessageChunk", "assistant"), "assistant"),
    **dict.fromkeys(("system", "SystemMessage", "SystemMessageChunk", "developer"), "system"),
    **dict.fromkeys(("tool", "ToolMessage", "ToolMessageChunk"), "tool"),
    **dict.fromkeys(("function", "FunctionMessage", "FunctionMessageChunk"), "tool"),
}
_CALLS = {"tool_use": "id", "tool_call": "id", "function_call": "call_id"}
"""Kinds of blocks that are calls, and where their id stands."""
_ABOUT = ("response_metadata", "usage_metadata", "example", "artifact", "chunk_position", "tool_call_chunks")
"""What LangChain keeps beside a message: tokens used, and what a tool returned to the program but not to the model."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        turns = fields.each("messages")
        reader = MessageReader(padded=is_padded([value for value, _ in turns]))
        reader.offer(fields, "tools", "functions")
        system = fields.take("system", kind=str, default="")
        beside = around(fields, place.name, "langchain", "remaining_steps", "is_last_step")  # LangGraph's
    dialogue = Dialogue()
    for value, where in turns:
        _message(*_opened(value, where), dialogue, reader)
    return [dialogue.trajectory(beside, reader.tools, system, "messages")]


def _opened(value: Any, where: str) -> tuple[str, Any, str]:
    """The kind of a message, its fields and where they stand, in whichever of the shapes it is."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):  # ("human", "Hi")
        return value[0], {"content": value[1]}, where
    with Fields(value, where) as fields:
        if "lc" in fields:
            fields.expect("lc", 1)
            fields.expect("type", "constructor")
            path, inside = fields.take("id", kind=list), fields.take("kwargs", kind=dict)
            return str(path[-1]) if path else "", inside, f"{where}.kwargs"
        if "data" in fields:
            return fields.take("type", kind=str), fields.take("data", kind=dict), f"{where}.data"
        names = ("type",) if value.get("type") == "chat" else ("type", "role")  # a chat message has both
        kind = fields.take(*names, kind=str)
        inside = fields.keep(*(key for key in value if key not in names))
    return kind, inside, where


def _message(kind: str, value: Mapping[str, Any], where: str, dialogue: Dialogue, reader: MessageReader) -> None:
    with Fields({**value, "content": _parts(value.get("content"))}, where) as fields:
        fields.take("type", default=None)
        role = _ROLES.get(kind) or _ROLES.get(str(fields.take("role", default="")))
        if role is None:
            raise DataError(f"unknown type {kind!r}; expected human, ai, system or tool", field=f"{where}.type")
        weight, name = message_weight(fields, role), fields.take("name", kind=str, default=None)
        about = fields.keep(*_ABOUT).get("response_metadata")
        if role == "tool":
            fields.take("id", default=None)
            known_as, failed = identity(fields, "tool_call_id"), fields.take("status", default="success") == "error"
            content = message_text(fields, result=True, padded=reader.padded)
            with Fields(fields.take("additional_kwargs", default={}), f"{where}.additional_kwargs"):
                pass
            dialogue.result(content.text, f"{where}.tool_call_id", known_as, name, failed or content.failed)
            return
        fields.take("id", default=None)
        if role == "assistant":
            weight = unless_cut_off(weight, about)
            dialogue.add(_turn(fields, where, reader).message(weight, name), where)
            return
        with Fields(fields.take("additional_kwargs", default={}), f"{where}.additional_kwargs"):
            pass
        texts = _texts(fields, AssistantTurn(), {}).texts
        dialogue.add(Message("user" if role == "user" else "system", "".join(texts), name=name, weight=weight), where)


def _parts(content: Any) -> Any:
    """The content of a message; a list of texts, or of texts and blocks of text, as blocks."""
    if not isinstance(content, list) or not all(isinstance(item, str) or _is_text(item) for item in content):
        return content
    return [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]


def _is_text(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "text"


def _turn(fields: Fields, where: str, reader: MessageReader) -> AssistantTurn:
    """What an answer says. Calls may stand three times: under ``tool_calls``, as OpenAI wrote them, and as blocks."""
    turn = AssistantTurn()
    turn.calls += [reader.call(value, at) for value, at in fields.each("tool_calls")]
    for _, at in fields.each("invalid_tool_calls"):
        raise DataError("is a call that could not be read: it cannot be kept as a call", field=at)
    with Fields(fields.take("additional_kwargs", default={}), f"{where}.additional_kwargs") as beside:
        raw = [reader.call(value, at) for value, at in beside.each("tool_calls")]
        if "function_call" in beside:
            raw.append(reader.call(beside.take("function_call"), beside.at("function_call")))
        turn.refusal = beside.take("refusal", kind=str, default=None)
        if isinstance(beside.look("reasoning"), dict):  # an item of OpenAI's Responses API
            with Fields(beside.take("reasoning"), beside.taken) as item:
                item.expect("type", "reasoning")
                turn.reasoning.append(thoughts(item))
        said = beside.take("reasoning_content", "reasoning", "thinking", kind=str, default="")
        beside.keep("parsed", "__gemini_function_call_thought_signatures__", "thought_signature")
    if turn.calls and raw and raw != turn.calls:
        raise DataError("says other calls than tool_calls", field=beside.at("tool_calls"))
    turn.calls = turn.calls or raw
    turn.reasoning.append(fields.take("reasoning_content", "reasoning", kind=str, default=said))
    calls, turn.calls = turn.calls, []
    _texts(fields, turn, {call.id: call for call in calls if call.id is not None}, None if calls else reader)
    turn.calls = calls or turn.calls
    return turn


def _texts(
    fields: Fields, turn: AssistantTurn, calls: Mapping[str | None, Call], reader: MessageReader | None = None
) -> AssistantTurn:
    """Puts the content into ``turn``.

    Args:
        calls: by their ids. A block that is one of them says no more than where it stands.
        reader: of the calls that stand in the content and nowhere else.
    """
    where, content = fields.at("content"), fields.take("content", default="")
    if isinstance(content, str):
        turn.texts.append(content)
        return turn
    if not isinstance(content, list):
        raise DataError(f"must be text or a list of blocks, not {type(content).__name__}", field=where)
    for index, value in enumerate(content):
        with Fields({"type": "text", "text": value} if isinstance(value, str) else value, f"{where}[{index}]") as block:
            kind = block.take("type", kind=str, default="text")
            if kind == "text":
                turn.text(block.take("text", kind=str))
            elif kind in THOUGHTS:
                turn.reasoning.append(thoughts(block))
            elif kind in _CALLS and (known_as := identity(block, _CALLS[kind])) in calls:
                turn.calls.append(calls[known_as])
                block.keep("name", "input", "args", "arguments", "partial_json", "id", "status")
            elif kind in _CALLS and reader is not None:
                shape = block.keep("name", "input", "args", "arguments")
                turn.calls.append(reader.call({"id": known_as, **shape}, block.where))
            else:
                raise DataError(f"a block of type {kind!r} cannot be read", field=block.where)
            block.keep("index", "cache_control", "signature", "annotations", "extras")
    return turn


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages that name their ``type``, or were dumped with ``lc``, in the place of a role."""
    messages = row.get("messages")
    return isinstance(messages, list) and bool(messages) and all(map(_is_message, messages))


def _is_message(item: Any) -> bool:
    if isinstance(item, list):
        return len(item) == 2 and item[0] in tuple(_ROLES)
    if not isinstance(item, dict) or item.get("type") == "chat":
        return isinstance(item, dict)
    return item.get("role") is None and (item.get("type") in tuple(_ROLES) or "lc" in item)


FORMAT = Format(
    name="langchain",
    description="LangChain's messages by `type` (`human`, `ai`, `tool`): plain, from `messages_to_dict` or dumped "
    "(`lc`). Those by `role`, with `args` in their calls, are read as `openai`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://python.langchain.com/api_reference/core/messages.html",
)
