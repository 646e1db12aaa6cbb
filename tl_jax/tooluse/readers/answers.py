"""The answer in messages as one text, as other programs hand over what a model answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tl_jax.errors import DataError
from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.api_answers import holds_message, message_in
from tl_jax.tooluse.readers.fields import ARGUMENTS
from tl_jax.tooluse.readers.message_fields import (
    OF_A_CALL,
    REASONING,
    listed_calls,
    message_text,
    of_an_answer,
    role_named,
)
from tl_jax.tooluse.readers.nulls import is_padded, without_padding
from tl_jax.tooluse.readers.tool_lists import TEXT

_BESIDE = (
    *(*REASONING, "name", "id", "reasoning_details", "thinking_blocks", "audio"),
    *("model", "status", "usage", "stop_sequence", "container", "context_management"),  # Anthropic's, Responses'
    *("response_metadata", "usage_metadata", "example"),  # LangChain's
)
"""What a message may have besides its text and calls: no part of the answer."""
_ITEMS = ("function_call", "custom_tool_call", "reasoning")
"""Items that OpenAI's Responses API answers beside messages."""

_TYPES = ("ai", "human", "system", "tool", "function")
"""What LangChain's messages say in place of a role."""
_CALLS = ("tool_use", "tool_call", "tool-call", "function_call")
"""Kinds of parts that are calls: Anthropic's, LangChain's, those of Vercel's AI SDK."""
_CALLS_BY_NAME = {"functionCall": "args", "function_call": "args", "toolUse": "input"}
"""Fields of parts that are calls, and what these call their arguments: Google's, Amazon's."""


class ApiAnswer(str):
    """An answer whose calls stood apart from its text. APIs take no dots in tools' names: ``_`` may be one."""

    __slots__ = ()


def answer_text(completion: Any, where: str = "completion") -> str:
    """The answer in a completion as one text: what it says, and its calls as JSON, one a line.

    A completion is a text, a message, an API's whole answer, or a list of messages, items or calls. Of several messages
    the assistant's first ones count, up to the first result: what it did before it was told anything. Calls are written
    as they came; whether they are calls is for the parser to say.

    Args:
        where: the field that it stands in, for errors.

    Raises:
        DataError: a message with a field that is not known, or no message.

    Example:
        >>> answer_text([{"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}])
        '{"name": "f", "arguments": {"a": 1}}'
    """
    if completion is None or isinstance(completion, str):
        return completion or ""
    completion, where = message_in(completion, where)
    messages: Sequence[Any] = [completion] if isinstance(completion, dict) else completion
    if not isinstance(messages, (list, tuple)):
        raise DataError(f"must be text or messages, not {type(completion).__name__}", field=where)
    parts, called = list[str](), False
    for index, message in enumerate(messages):
        found = _said(message, where if isinstance(completion, dict) else f"{where}[{index}]")
        if found is None:
            break
        said, calls = found
        parts, called = [*parts, *said, *calls], called or bool(calls)
    return (ApiAnswer if called else str)("\n".join(parts))


def is_answer(value: Any) -> bool:
    """Whether a value is a message of the assistant's, a call or another item of its answer, or a list that begins with
    one; or all that an API answered."""
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, dict):
        return False
    role = _role(first) or ("assistant" if isinstance(first.get("tool_calls"), list) else "")
    return role == "assistant" or first.get("type") in _ITEMS or _is_call(first) or holds_message(value)


def _role(message: dict[str, Any]) -> str:
    """Whose message it is, which LangChain's say by their type; empty where nothing tells, as in a call of ``function``
    type."""
    role, kind = message.get("role"), message.get("type")
    if not role and kind in _TYPES and message.get("content") is not None:
        role = kind
    return role_named(str(role)) if role else ""


def _is_call(value: dict[str, Any]) -> bool:
    """Whether an object is a call, as it stands in a message's ``tool_calls``."""
    call = value["function"] if isinstance(value.get("function"), dict) else value
    named = isinstance(call.get("name"), str) and any(name in call for name in ARGUMENTS)
    return named and "role" not in value and "content" not in value


def _said(message: Any, where: str) -> tuple[list[str], list[str]] | None:
    """What an assistant's message says, and what it calls; None for any other message."""
    role, kind = (_role(message), message.get("type")) if isinstance(message, dict) else ("", None)
    if not role and kind in _ITEMS:
        return [], _item(message, str(kind), where)
    if isinstance(message, dict) and _is_call(message):
        return [], [_written(message)]
    if role not in ("", "assistant") or (not role and str(kind).endswith("_output")):
        return None
    with Fields(message, where) as fields:
        fields.expect("type", "message", "ai")
        content, parts = _without_calls(fields.take("content", "parts", default=""))
        fields.take("role", default=None)
        text, refusal, *_ = message_text(Fields({"content": content}, where))
        calls, refused = _listed(fields)
        older = [fields.take(name, default=None) for name in ("function_call", "function_calls")]
        refusal = fields.take("refusal", kind=str, default=refusal or refused)
        fields.keep(*_BESIDE)
        of_an_answer(fields)
    ids = {str(call["id"]) for call in calls if isinstance(call, dict) and call.get("id")}
    parts = [part for part in parts if str(part.pop("id") or "") not in ids]  # LangChain's say calls in both places
    calls = [*parts, *calls, *(call for call in older if call is not None)]
    spoken = text if text.strip() else refusal
    return [spoken] if spoken else [], [*map(_written, calls)]


def _listed(fields: Fields) -> tuple[list[Any], str]:
    """Takes the calls of a message, those that LangChain could not read among them, and what it has of a refusal.

    Where there are no calls, those count that LangChain keeps as OpenAI wrote them.
    """
    calls, broken = listed_calls(fields), fields.take("invalid_tool_calls", kind=list, default=[])
    beside = fields.take("additional_kwargs", kind=dict, default={})
    older = beside.get("function_call")
    raw = beside.get("tool_calls") or ([] if older is None else [older])
    return [*calls, *broken] or raw, str(beside.get("refusal") or "")


def _item(item: Any, kind: str, where: str) -> list[str]:
    """What an item of OpenAI's Responses API calls, if it does."""
    with Fields(item, where) as fields:
        fields.keep("type", "id", "call_id", "status", "summary", "content", "encrypted_content")
        call = fields.keep("name", "arguments", "input")
    if kind == "reasoning":
        return []
    return [_written({"custom": call} if kind == "custom_tool_call" else call)]


def _without_calls(content: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The content of a message without the parts that are calls, and these calls."""
    if not isinstance(content, list):
        return content, []
    said, calls = list[Any](), list[dict[str, Any]]()
    for part in map(_typed, content):
        if isinstance(part, dict) and part.get("type") in _CALLS:
            known_as, name = part.get("call_id") or part.get("id"), part.get("name", part.get("toolName"))
            calls.append({"id": known_as, "name": name} | {key: part[key] for key in ARGUMENTS if key in part})
        else:
            said.append(part)
    return said, calls


def _typed(part: Any) -> Any:
    """A part with its type, where Google's and Amazon's say what they are by the name of a field."""
    if not isinstance(part, dict) or "type" in part:
        return part
    for name, arguments in _CALLS_BY_NAME.items():
        if isinstance(call := part.get(name), dict):
            return {"type": "tool_use", "name": call.get("name"), "input": call.get(arguments)}
    if part.get("thought") is True or "reasoningContent" in part:
        return {"type": "thinking", "thinking": str(part.get("text", ""))}
    return {key: value for key, value in part.items() if key not in ("thought", "thoughtSignature")}


def _written(call: Any) -> str:
    """A call as JSON that the parser understands, if it is one."""
    if isinstance(call, str):
        return call
    inner = call.get("function") if isinstance(call, dict) else None
    custom = call.get("custom") if isinstance(call, dict) else None
    if isinstance(custom, dict):  # whose input is a text as it is
        call = {"name": custom.get("name"), "arguments": {TEXT: custom.get("input")}}
    elif isinstance(inner, dict):
        outer = {key: value for key, value in call.items() if key not in OF_A_CALL}
        call = {**outer, "function": _with_arguments(inner)}
    elif isinstance(call, dict):
        call = _with_arguments(call)
    return json.dumps(call, ensure_ascii=False, default=str)


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """The call with its arguments under the name that the parser knows; those that are missing or empty are none."""
    names = [name for name in ARGUMENTS if call.get(name) not in (None, "")]
    if len(names) > 1:  # not for us to choose: the parser refuses it
        return call
    arguments = call[names[0]] if names else {}
    if isinstance(arguments, dict) and is_padded(()):
        arguments = without_padding(arguments, None, padded=True)
    beside = {key: value for key, value in call.items() if key not in (*ARGUMENTS, *OF_A_CALL)}
    return {**beside, "arguments": arguments}
