"""LlamaIndex' messages: ``blocks`` by ``block_type``, and what a model's API says beside in ``additional_kwargs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import identity
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import (
    REASONING,
    as_lines,
    message_weight,
    of_an_answer,
    role_named,
    unless_cut_off,
)
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import TOOLS
from tl_jax.tooluse.schema import Call, DataError, Message, Trajectory

_NAMES = ("messages", "chat_history")
"""What the messages of a row are called."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        at = fields.at(*_NAMES)
        turns = fields.each(*_NAMES)
        reader = MessageReader(padded=is_padded([value for value, _ in turns]))
        reader.offer(fields, *TOOLS)
        system = fields.take("system", "system_prompt", kind=str, default="")
        beside = around(fields, place.name, "llamaindex")
    dialogue = Dialogue()
    for value, where in turns:
        _message(value, where, dialogue, reader)
    return [dialogue.trajectory(beside, reader.tools, system, at)]


def _message(value: Any, where: str, dialogue: Dialogue, reader: MessageReader) -> None:
    turn = AssistantTurn()
    with Fields(value, where) as fields:
        role = role_named(fields.take("role", kind=str))
        weight, said = message_weight(fields, role), fields.take("content", kind=str, default="")
        for block, at in fields.each("blocks"):
            with Fields(block, at) as inside:
                _block(inside, turn, reader)
        with Fields(fields.take("additional_kwargs", default={}), f"{where}.additional_kwargs") as beside:
            known_as, name = identity(beside, "tool_call_id"), beside.take("name", kind=str, default=None)
            failed = beside.take("is_error", kind=bool, default=False)
            about = _beside(beside, turn, reader)
    texts = as_lines(turn.texts) if role == "tool" else "".join(turn.texts)
    if said and texts and "".join(said.split()) != "".join(texts.split()):
        raise DataError("says something else than the blocks", field=f"{where}.content")
    text = said or texts
    if role == "tool":
        dialogue.result(text, f"{where}.additional_kwargs.tool_call_id", known_as, name, failed)
    elif role == "assistant":
        turn.texts = [text]
        dialogue.add(turn.message(unless_cut_off(weight, about), name), where)
    else:
        dialogue.add(Message(role, text, tuple(turn.calls), name, weight), where)  # type: ignore[arg-type]


def _block(block: Fields, turn: AssistantTurn, reader: MessageReader) -> None:
    """One block of a message.

    Raises:
        DataError: neither text, a thought nor a call.
    """
    kind = block.take("block_type", default="text")
    if kind == "text":
        turn.text(block.take("text", kind=str))
    elif kind == "thinking":
        turn.reasoning.append(block.take("content", kind=str, default=""))
        block.keep("num_tokens", "additional_information")
    elif kind == "tool_call":
        shape = {"id": block.take("tool_call_id", default=None), "name": block.take("tool_name")}
        turn.calls.append(reader.call({**shape, "arguments": block.take("tool_kwargs", default={})}, block.where))
    elif kind != "cache":
        raise DataError(f"a block of type {kind!r} cannot be read: only text, thoughts and calls", field=block.where)
    block.keep("cache_control", "annotations")


def _beside(beside: Fields, turn: AssistantTurn, reader: MessageReader) -> dict[str, Any]:
    """What the model's API said of an answer: its calls, which the blocks may say as well, thoughts, refusal, its end.

    Raises:
        DataError: other calls than the blocks.
    """
    calls: list[Call] = [reader.call(value, at) for value, at in beside.each("tool_calls")]
    where = beside.taken
    if "function_call" in beside:
        calls.append(reader.call(beside.take("function_call"), beside.taken))
    if calls and turn.calls and calls != turn.calls:
        raise DataError("says other calls than the blocks", field=where)
    turn.calls = turn.calls or calls
    thought = beside.take(*REASONING, kind=str, default="")
    turn.reasoning = turn.reasoning or [thought]
    turn.refusal = beside.take("refusal", kind=str, default=None)
    beside.keep("thinking_signature", "thinking_delta", "parsed", "session_id")
    return of_an_answer(beside)


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages by role with blocks by ``block_type``, or with ``additional_kwargs`` and no calls beside them.

    LangChain's messages by role have their calls there.
    """
    messages: list[Any] = next((row[name] for name in _NAMES if isinstance(row.get(name), list)), [])
    items = [item for item in messages if isinstance(item, dict) and "role" in item]
    blocks = [block for item in items if isinstance(item.get("blocks"), list) for block in item["blocks"]]
    if any(isinstance(block, dict) and "block_type" in block for block in blocks):
        return True
    beside = any(item.get(name) for item in items for name in ("tool_calls", "tool_call_id"))
    return not beside and any(isinstance(item.get("additional_kwargs"), dict) for item in items)


FORMAT = Format(
    name="llamaindex",
    description="LlamaIndex' messages by `role` with `blocks` (`text`, `thinking`, `tool_call`), and the calls and "
    "ids in `additional_kwargs`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://docs.llamaindex.ai/en/stable/api_reference/prompts/",
)
