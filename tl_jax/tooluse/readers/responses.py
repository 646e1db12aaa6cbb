"""OpenAI's Responses API: ``input`` (and ``output``) of items: messages, reasoning, calls and what they returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields, remark
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import ENCRYPTED, message_weight
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import tools
from tl_jax.tooluse.schema import Call, DataError, Message, Trajectory

_ITEMS = ("message", "function_call", "function_call_output", "reasoning")
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_SETTINGS = (
    *("object", "created_at", "status", "error", "incomplete_details", "max_output_tokens", "previous_response_id"),
    *("reasoning", "store", "text", "truncation", "usage", "user", "background", "service_tier", "prompt_cache_key"),
    *("include", "stream", "max_tool_calls", "top_logprobs", "safety_identifier", "conversation"),
    *("billing", "completed_at", "frequency_penalty", "presence_penalty", "prompt_cache_retention", "prompt"),
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row: what went in, then what came out."""
    with Fields(row) as fields:
        offered = tools(fields.take("tools", default=[]), "tools")
        system = fields.take("instructions", kind=str, default="")
        items = [*_input(fields), *fields.each("output")]
        beside = around(fields, place.name, "responses", *_SETTINGS)
    return [_dialogue(items).trajectory(beside, offered, system, "input")]


def _input(row: Fields) -> list[tuple[Any, str]]:
    value = row.take("input", default=[])
    if isinstance(value, str):
        return [({"role": "user", "content": value}, "input")]
    if not isinstance(value, list):
        raise DataError(f"must be text or a list of items, not {type(value).__name__}", field="input")
    return [(item, f"input[{i}]") for i, item in enumerate(value)]


def _dialogue(items: list[tuple[Any, str]]) -> Dialogue:
    dialogue, thoughts = Dialogue(), list[str]()
    padded = is_padded([value for value, _ in items])
    for value, where in items:
        with Fields(value, where) as item:
            kind = item.take("type", default="message")
            item.take("status", default=None)
            if kind not in _ITEMS:
                raise DataError(f"an item of type {kind!r} cannot be read", field=where)
            if kind == "reasoning":
                thoughts += _reasoning(item)
                continue
            if kind == "function_call_output":
                known_as = identity(item, "call_id")
                item.take("id", default=None)
                said = item.take("output", default="")
                if isinstance(said, dict):
                    said = plain(said, padded)
                dialogue.result(_text(Fields({"output": said}, where), "output")[0], f"{where}.call_id", known_as)
                continue
            if kind == "function_call":
                message = Message("assistant", tool_calls=(_call(item),))
            else:
                message = _message(item, where)
        if message.role == "assistant" and thoughts:
            message = AssistantTurn([message.content], thoughts, list(message.tool_calls), message.refusal).message(
                message.weight
            )
            thoughts = []
        dialogue.join(message, where)
    if thoughts:
        dialogue.add(Message("assistant", reasoning="\n".join(thoughts)), items[-1][1])
    return dialogue


def _call(item: Fields) -> Call:
    item.take("id", default=None)  # of the item; the call's own is `call_id`
    known_as = identity(item, "call_id")
    name = item.take("name", kind=str)
    where = item.at("arguments")
    return Call(name, arguments(item.take("arguments", default={}), where), id=known_as)


def _message(item: Fields, where: str) -> Message:
    role = item.take("role", kind=str)
    item.keep("id", "phase")
    content, refusal = _text(item, "content")
    weight = message_weight(item, role)
    if role not in _ROLES:
        raise DataError(f"unknown role {role!r}; expected one of {', '.join(_ROLES)}", field=f"{where}.role")
    message = Message(_ROLES[role], content, weight=weight, refusal=refusal)  # type: ignore[arg-type]
    message.check(where)
    return message


def _reasoning(item: Fields) -> list[str]:
    """The thoughts themselves if they are there, their summary otherwise."""
    item.take("id", default=None)
    if item.take("encrypted_content", default=None):
        remark(ENCRYPTED)
    texts: dict[str, list[str]] = {}
    for name in ("content", "summary"):
        for value, where in item.each(name):
            with Fields(value, where) as part:
                part.expect("type", "reasoning_text" if name == "content" else "summary_text")
                texts.setdefault(name, []).append(part.take("text", kind=str))
    return texts.get("content") or texts.get("summary") or []


def _text(item: Fields, name: str) -> tuple[str, str | None]:
    """The text in a field, whole or in parts, and the refusal among them."""
    where, value = item.at(name), item.take(name, default="")
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list):
        raise DataError(f"must be text or a list of parts, not {type(value).__name__}", field=where)
    texts, refusal = [], None
    for index, entry in enumerate(value):
        with Fields(entry, f"{where}[{index}]") as part:
            kind = part.take("type", default="input_text")
            if kind == "refusal":
                refusal = part.take("refusal", kind=str)
            elif kind in ("input_text", "output_text", "text"):
                texts.append(part.take("text", kind=str))
                part.keep("annotations", "logprobs")
            else:
                raise DataError(f"a part of type {kind!r} cannot be read: only text", field=part.where)
    return "".join(texts), refusal


def _recognises(row: Mapping[str, Any]) -> bool:
    """Items under ``input`` or ``output`` of which one at least has a role or a type of this API."""
    items = [item for name in ("input", "output") if isinstance(row.get(name), list) for item in row[name]]
    known = (
        item.get("type") in _ITEMS or item.get("role") in tuple(_ROLES) for item in items if isinstance(item, dict)
    )
    return "messages" not in row and any(known)


FORMAT = Format(
    name="responses",
    description="OpenAI's Responses API: `input` (and `output`) of items (`function_call`, `function_call_output`, "
    "`reasoning`, messages), `instructions`, `tools`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://platform.openai.com/docs/api-reference/responses",
)
