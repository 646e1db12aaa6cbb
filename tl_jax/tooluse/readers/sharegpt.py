"""Function calling in ShareGPT's shape: Hermes (https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1)
and LLaMA-Factory.

``{conversations: [{from, value}], tools}``. Hermes writes the tools in the system prompt between ``<tools>`` tags,
calls between ``<tool_call>`` tags and results between ``<tool_response>`` tags; in LLaMA-Factory's files ``tools`` is
JSON text, and a call or result is a turn of its own, by ``function_call`` or ``observation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import arguments, described, literal, plain
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.messages import ARGUMENTS, identity, message_weight, with_system
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.toolbox import joined
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row. A system prompt that lists tools describes this format and is left out."""
    with Fields(row) as fields:
        tools = _tools(fields.take("tools", default=None), "tools")
        system = fields.take("system", "system_prompt", kind=str, default="")
        turns = fields.take("conversations", kind=list)
        name = str(fields.take("id", default=place.name))
        meta = described(fields)
    messages: list[Message] = []
    for index, item in enumerate(turns):
        where = f"conversations[{index}]"
        with Fields(item, where) as turn:
            speaker, value = turn.take("from", kind=str), turn.take("value", kind=str)
            weight = message_weight(turn)
        listed = [text for text in _tagged(value, "tools")[0] if text.startswith(("[", "{"))]
        if speaker == "system" and listed:
            tools = tools or _tools(listed[0], f"{where}.value: tools")
        else:
            messages += _weighed(_turn(speaker, value, messages, where), weight, where)
    messages = with_system(messages, system, "conversations")
    if not messages:
        raise DataError("holds no turns", field="conversations")
    return [Trajectory(name, tools, joined(messages), "sharegpt", meta)]


def _weighed(messages: list[Message], weight: float | None, where: str) -> list[Message]:
    """The messages of a turn with its weight. Of a turn that is no assistant's it may be 0: it is no target anyway."""
    if weight is None or (not weight and messages[0].role != "assistant"):
        return messages
    weighed = [replace(message, weight=weight) for message in messages]
    for message in weighed:
        message.check(where)
    return weighed


def _turn(speaker: str, value: str, before: list[Message], where: str) -> list[Message]:
    match speaker:
        case "system":
            return [Message("system", value)]
        case "human" | "user":
            return [Message("user", value)]
        case "gpt" | "assistant" | "model":
            texts, said = _tagged(value, "tool_call")
            calls = tuple(call for text in texts for call in _calls(text, f"{where}.value: tool_call"))
            return [Message("assistant", said.strip(), calls)]
        case "function_call" | "tool_call":
            texts = _tagged(value, "tool_call")[0] or [value]
            return [Message("assistant", "", tuple(call for text in texts for call in _calls(text, f"{where}.value")))]
        case "observation" | "tool" | "function" | "function_response" | "tool_response":
            return _results(value, before)
    raise DataError(f"unknown speaker {speaker!r}", field=f"{where}.from")


def _tagged(text: str, tag: str) -> tuple[list[str], str]:
    """What stands between the tags, and the text without it; a tag left open reaches to the next one or the end."""
    before, *parts = text.split(f"<{tag}>")
    pairs = [part.partition(f"</{tag}>") for part in parts]
    return [inside.strip() for inside, _, _ in pairs], before + "".join(after for _, _, after in pairs)


def _calls(text: str, where: str) -> list[Call]:
    """One call or a list of calls, as ``{name, arguments}``."""
    value = literal(text, where)
    made = []
    for item in value if isinstance(value, list) else [value]:
        with Fields(item, where) as fields:
            fields.expect("type", "function", "tool_call")
            name, known_as = fields.take("name", kind=str), identity(fields, "id")
            given = fields.take(*ARGUMENTS, default={})
        made.append(Call(name, arguments(given, f"{where}.arguments"), id=known_as))
    return made


def _results(value: str, before: list[Message]) -> list[Message]:
    """The results in a turn, each with the name of its call: those of the last turn that made any, in their order."""
    called = next((turn.tool_calls for turn in reversed(before) if turn.tool_calls), ())
    texts = _tagged(value, "tool_response")[0] or [value]
    results = []
    for index, text in enumerate(texts):
        name = called[min(index, len(called) - 1)].name if called else None
        try:
            content = literal(text, "")
        except DataError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("name"), str) and "content" in content:
            name, text = content["name"], plain(content["content"])
        results.append(Message("tool", text, name=name))
    return results


def _tools(value: Any, where: str) -> tuple[Tool, ...]:
    """Tools as a list, as JSON text of a list, or as objects one a line."""
    if isinstance(value, str) and value.strip():
        try:
            value = literal(value, where)
        except DataError:
            value = [literal(line, where) for line in value.splitlines() if line.strip()]
    values = value if isinstance(value, list) else [value] if value else []
    return tuple(Tool.from_json(item, f"{where}[{i}]") for i, item in enumerate(values))


def system_prompt(row: Mapping[str, Any]) -> str:
    """What the first speaker of a conversation ``[{from, value}]`` says; empty if the row holds none."""
    return str(row["conversations"][0].get("value")) if _speaks(row) else ""


def _speaks(row: Mapping[str, Any]) -> bool:
    turns = row.get("conversations")
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, dict) and "from" in turn for turn in turns)


FORMAT = Format(
    name="sharegpt",
    description="`conversations` of `from` and `value`: Hermes (`<tools>`, `<tool_call>`, `<tool_response>`) and "
    "LLaMA-Factory (`function_call`, `observation`, `tools`)",
    recognises=_speaks,
    trajectories=each_row(trajectories),
    source="https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1",
)
