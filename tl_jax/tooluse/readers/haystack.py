"""Haystack's ``ChatMessage``: parts by their name (``text``, ``tool_call``, ``tool_call_result``, ``reasoning``).

Versions 2.9 to 2.11 wrote ``_role`` and ``_content``, later ones ``role`` and ``content``, earlier ones only texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import AssistantTurn, Dialogue, around
from tl_jax.tooluse.readers.fields import call_arguments, identity, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import as_lines, message_weight, unless_cut_off
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import TOOLS, tools
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_PARTS = ("tool_call", "tool_call_result", "reasoning")
"""Parts that no other format has under their name."""
_OF_A_TOOL = ("function", "outputs_to_string", "inputs_from_state", "outputs_to_state")
"""What a tool says to Haystack and to no model."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        turns = fields.each("messages")
        padded = is_padded([value for value, _ in turns])
        offered = tools(_opened(fields.take(*TOOLS, default=[]), fields.taken), fields.taken, padded)
        system = fields.take("system", "system_prompt", kind=str, default="")
        beside = around(fields, place.name, "haystack")
    dialogue = Dialogue()
    for value, where in turns:
        _message(value, where, dialogue, by_name(offered), padded)
    return [dialogue.trajectory(beside, offered, system, "messages")]


def _opened(offered: Any, where: str) -> Any:
    """Tools without the class and the program that Haystack writes around and beside each."""
    values = offered if isinstance(offered, list) else []
    if not values or not all(isinstance(tool, dict) and isinstance(tool.get("data"), dict) for tool in values):
        return offered
    opened = []
    for index, value in enumerate(values):
        with Fields(value, f"{where}[{index}]") as tool:
            tool.take("type", kind=str)
            opened.append({key: item for key, item in tool.take("data").items() if key not in _OF_A_TOOL})
    return opened


def _message(value: Any, where: str, dialogue: Dialogue, offered: Mapping[str, Tool], padded: bool) -> None:
    with Fields(value, where) as fields:
        role = fields.take("role", "_role", kind=str)
        weight, name = message_weight(fields, role), fields.take("name", "_name", kind=str, default=None)
        about = [*fields.keep("meta", "_meta").values(), None][0]  # what an API says about an answer
        at = fields.at("content", "_content")
        content = fields.take("content", "_content", default=[])
    if role not in ("system", "user", "assistant", "tool"):
        raise DataError(f"unknown role {role!r}; expected system, user, assistant or tool", field=f"{where}.role")
    parts = [{"text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise DataError(f"must be text or a list of parts, not {type(parts).__name__}", field=at)
    turn, answered = AssistantTurn(), False
    for index, part in enumerate(parts):
        with Fields(part, f"{at}[{index}]") as inside:
            if "tool_call_result" in inside and role == "tool":
                _result(inside.take("tool_call_result"), inside.taken, dialogue, padded)
                answered = True
            else:
                _part(inside, turn, offered, padded)
    if role == "assistant":
        dialogue.add(turn.message(unless_cut_off(weight, about), name), where)
    elif role != "tool":
        dialogue.add(Message(role, "".join(turn.texts), tuple(turn.calls), name, weight), where)  # type: ignore[arg-type]
    elif turn.says_something or not answered:
        raise DataError("must hold results (tool_call_result) and nothing else", field=at)


def _part(part: Fields, turn: AssistantTurn, offered: Mapping[str, Tool], padded: bool) -> None:
    """One part of what somebody says.

    Raises:
        DataError: it is a picture, a file or something that is not known.
    """
    if "text" in part:
        turn.text(part.take("text", kind=str))
    elif "reasoning" in part:
        with Fields(part.take("reasoning"), part.taken) as thought:
            turn.reasoning.append(thought.take("reasoning_text", kind=str))
            thought.keep("extra")
    elif "tool_call" in part:
        turn.calls.append(_call(part.take("tool_call"), part.taken, offered, padded))
    else:
        part.done()
        raise DataError("only text, reasoning, tool_call and tool_call_result can be read", field=part.where)


def _call(value: Any, where: str, offered: Mapping[str, Tool], padded: bool) -> Call:
    with Fields(value, where) as call:
        name, known_as = call.take("tool_name", kind=str), identity(call, "id")
        given = call_arguments(call, offered.get(name), padded, "arguments")
        call.keep("extra")
    return Call(name, given, id=known_as)


def _result(value: Any, where: str, dialogue: Dialogue, padded: bool) -> None:
    """A result, which says its whole call once more."""
    with Fields(value, where) as result:
        said, failed = result.take("result", default=""), result.take("error", kind=bool, default=False)
        call = _call(result.take("origin"), result.taken, {}, padded)
    if isinstance(said, list) and said and all(isinstance(part, dict) and "text" in part for part in said):
        said = as_lines(Fields(part, f"{where}.result").take("text", kind=str) for part in said)
    elif isinstance(said, list) and any(isinstance(part, dict) and {"image", "file"} & part.keys() for part in said):
        raise DataError("only text can be read", field=f"{where}.result")
    dialogue.result(plain(said, padded), f"{where}.origin.id", call.id, call.name, failed)


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages by ``_role``, or with a part that only Haystack has by its name, or with texts and ``meta``."""
    messages = row.get("messages")
    items = [item for item in messages if isinstance(item, dict)] if isinstance(messages, list) else []
    contents = [item["content"] for item in items if isinstance(item.get("content"), list)]
    parts = [part for content in contents for part in content if isinstance(part, dict)]
    named = any(isinstance(part.get(name), dict) and "type" not in part for part in parts for name in _PARTS)
    texts = bool(items) and all({"role", "content", "meta", "name"} == item.keys() for item in items)
    return named or texts or any("_role" in item and "_content" in item for item in items)


FORMAT = Format(
    name="haystack",
    description="Haystack's `ChatMessage` as `to_dict` writes it: `content` (or `_content`) of parts by name (`text`, "
    "`reasoning`, `tool_call`, `tool_call_result`)",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://docs.haystack.deepset.ai/docs/chatmessage",
)
