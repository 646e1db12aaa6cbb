"""Function calling in ShareGPT's shape: Hermes (https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1)
and LLaMA-Factory.

``{conversations: [{from, value}], tools}``. Hermes writes the tools in the system prompt between ``<tools>`` tags,
calls between ``<tool_call>`` tags and results between ``<tool_response>`` tags; in LLaMA-Factory's files ``tools`` is
JSON text, and a call or result is a turn of its own, by ``function_call`` or ``observation``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import Dialogue, around, may_answer
from tl_jax.tooluse.readers.fields import plain
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.message_fields import SPEAKERS, message_weight
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls
from tl_jax.tooluse.readers.results import Called, results
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tagged import between, calls, listed
from tl_jax.tooluse.readers.texts import prompt, spoken, without_ends
from tl_jax.tooluse.readers.thoughts import apart
from tl_jax.tooluse.readers.tool_lists import TOOLS
from tl_jax.tooluse.readers.toolbox import joined
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

_TURNS = ("conversations", "messages")
"""What the turns of a row are called."""


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row. Sentences of a system prompt that describe this format are left out."""
    with Fields(row) as fields:
        where = fields.at(*TOOLS)
        field = _field(row)
        turns = fields.each(field)
        padded = is_padded([value for value, _ in turns])
        offered = fields.take(*TOOLS, default=None)
        tools = listed(without_nulls(offered) if padded else offered, where)
        system = fields.take("system", "system_prompt", kind=str, default="")
        beside = around(fields, place.name, "sharegpt", "schema")  # of Hermes' JSON mode, whose prompt says it
    tools, system = prompt(system, tools, "system")
    dialogue = Dialogue()
    for (value, at), (following, _) in zip_longest(turns, turns[1:], fillvalue=({}, "")):
        tools = _turn(value, at, dialogue, tools, may_answer(following), padded)
    dialogue.messages = list(joined(without_ends(dialogue.messages, _written(turns))))
    return [dialogue.as_it_is(beside, tools, system, field)]


def _turn(
    value: Any, where: str, dialogue: Dialogue, tools: tuple[Tool, ...], answered: bool, padded: bool
) -> tuple[Tool, ...]:
    """Adds what a turn says, which a result follows or not; returns the tools, which a system prompt may list.

    Calls and results may be any value.
    """
    with Fields(value, where) as turn:
        speaker = turn.take("from", kind=str)
        role = SPEAKERS.get(speaker.lower())
        content: Any = turn.take("value", kind=object if role in ("call", "tool") else str)
        weight = message_weight(turn, "assistant" if role in ("assistant", "call") else speaker)
    if role == "call":
        thought, made = _made(content, f"{where}.value", tools, padded)
        dialogue.join(Message("assistant", "", made, weight=weight, reasoning=thought or None), where)
        return tools
    text = plain(content, padded)
    if dialogue.heard(role, text, where):
        return tools
    match role:
        case "system":
            tools, words = prompt(text, tools, f"{where}.value")
            if words or not text.strip():
                dialogue.add(Message("system", words, weight=weight), where)
        case "user":
            dialogue.add(Message("user", text, weight=weight), where)
        case "assistant":
            message = apart(Message("assistant", text, weight=weight))
            for one in spoken(message, tools, answered, f"{where}.value", dialogue.called, dialogue.messages):
                dialogue.add(one, where)
        case _:
            raise DataError(f"unknown speaker {speaker!r}", field=f"{where}.from")
    return tools


def _written(turns: Iterable[tuple[Any, str]]) -> Iterator[str]:
    """The texts of the assistant as the row has them."""
    for turn, _ in turns:
        if SPEAKERS.get(turn["from"].lower()) == "assistant":
            yield turn["value"]


def _made(content: Any, where: str, tools: Sequence[Tool], padded: bool) -> tuple[str, tuple[Call, ...]]:
    """The thought and the calls in a turn of calls: a text, with or without tags, or a value."""
    if not isinstance(content, str):
        return "", tuple(calls(content, where, tools, padded))
    message = apart(Message("assistant", content))
    texts = between(message.content, "tool_call")[0] or [message.content]
    return message.reasoning or "", tuple(call for text in texts for call in calls(text, where))


def row(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as LLaMA-Factory has it, which knows neither ids, nor names of results, nor thoughts."""
    messages, system = list(trajectory.messages), ""
    if messages and messages[0].role == "system" and messages[0].content.strip():
        system = messages.pop(0).content
    turns: list[dict[str, Any]] = []
    for message in messages:
        weight = {} if message.weight is None else {"weight": message.weight}
        if message.role == "tool":
            turns.append({"from": "observation", "value": _observed(message)})
        elif message.content or not message.tool_calls:
            speaker = {"user": "human", "assistant": "gpt"}.get(message.role, message.role)
            turns.append({"from": speaker, "value": message.content, **weight})
        if message.tool_calls:
            made = [{"name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls]
            said = json.dumps(made if len(made) > 1 else made[0], ensure_ascii=False)
            turns.append({"from": "function_call", "value": said, **weight})
    beside = {"id": trajectory.id, "suite": trajectory.suite, "meta": dict(trajectory.meta)}
    shapes = json.dumps([tool.to_json() for tool in trajectory.tools], ensure_ascii=False)
    return {**beside, "system": system, "tools": shapes, "conversations": turns}


def _observed(message: Message) -> str:
    """A result; one that would be unwrapped or looks like a tag is wrapped once more."""
    called = Called()
    called.note(Message("assistant", "", (Call(message.name or "", {}),)))
    if results(message.content, called) == [Message("tool", message.content)]:
        return message.content
    return json.dumps({"name": message.name, "content": message.content}, ensure_ascii=False)


def system_prompt(row: Mapping[str, Any]) -> str:
    """What the first speaker of a conversation ``[{from, value}]`` says; empty if the row holds none."""
    return str(row[_field(row)][0].get("value")) if _speaks(row) else ""


def _field(row: Any) -> str:
    """The field that holds the turns."""
    there = row if isinstance(row, dict) else {}
    return next((name for name in _TURNS if _are_turns(there.get(name))), _TURNS[0])


def _speaks(row: Mapping[str, Any]) -> bool:
    return _are_turns(row.get(_field(row)))


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and "from" in turn for turn in value)


FORMAT = Format(
    name="sharegpt",
    description="`conversations` (or `messages`) of `from` and `value`: Hermes (`<tools>`, `<tool_call>`, "
    "`<tool_response>`) and LLaMA-Factory (`function_call`, `observation`, `tools`), APIGen-MT among it",
    recognises=_speaks,
    trajectories=each_row(trajectories),
    write=Writer(row, trajectories),
    source="https://huggingface.co/datasets/NousResearch/hermes-function-calling-v1",
)
