"""ToolRL's RLLA data (https://github.com/qiancheng0/ToolRL) in verl's rows: ``{prompt, reward_model}``.

The system text lists the tools one by one (``1. Name: ...``); answers are ``<think>``, ``<tool_call>`` with an object
a line, and ``<response>``; the user's text may hold the dialogue so far, with results as ``<obs>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import Around, Dialogue, around
from tl_jax.tooluse.readers.fields import arguments
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.schemas import json_schema
from tl_jax.tooluse.readers.tagged import calls
from tl_jax.tooluse.schema import Case, DataError, Message, Tool, Trajectory

_TOOL = re.compile(r"^\d+\. Name: ", re.MULTILINE)
_AVAILABLE = "**Available Tools**"
_HISTORY = "**Dialogue Records History**"
_OPENING = re.compile(r"<(user|think|tool_call|response|obs)>")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The dialogue and the answer that is right; turns of the dialogue so far are no targets."""
    beside, tools, dialogue, answer = _row(row, place)
    dialogue.add(answer, "reward_model.ground_truth")
    return [dialogue.as_it_is(beside, tools, "", "prompt")]


def cases(row: Any, place: Place) -> list[Case]:
    """The dialogue, with the calls of the right answer as gold; one alternative of no call where it makes none."""
    beside, tools, dialogue, answer = _row(row, place)
    found = dialogue.as_it_is(beside, tools, "", "prompt")
    gold = (answer.tool_calls,)
    return [Case(found.id, found.tools, found.messages, gold, "parallel", found.suite, meta=found.meta)]


def _row(row: Any, place: Place) -> tuple[Around, tuple[Tool, ...], Dialogue, Message]:
    with Fields(row) as fields:
        prompt = fields.each("prompt")
        with Fields(fields.take("reward_model"), "reward_model") as gold:
            written = gold.take("ground_truth", kind=str)
            gold.take("style", default=None)
        about = ("data_source", "ability", "extra_info", "agent_name")
        beside = around(fields, place.name, "toolrl", *about)
    tools: tuple[Tool, ...] = ()
    dialogue = Dialogue()
    for value, where in prompt:
        with Fields(value, where) as message:
            role, text = message.take("role", kind=str), message.take("content", kind=str)
            message_weight(message, role)
        if role == "system":
            found, words = _tools(text, f"{where}.content")
            tools += found
            if words or not found:
                dialogue.add(Message("system", words), where)
        elif role == "user":
            _told(text, dialogue, f"{where}.content")
        else:
            raise DataError(f"unknown role {role!r}; expected system or user", field=f"{where}.role")
    parts = Dialogue()
    _add(written, parts, "reward_model.ground_truth")
    if len(parts.messages) != 1 or parts.messages[0].role != "assistant":
        raise DataError("must be one answer", field="reward_model.ground_truth")
    return beside, tools, dialogue, replace(parts.messages[0], weight=None)


def _tools(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools that a system text lists, and what it says beside them and the format of answers."""
    if _AVAILABLE not in text:
        return (), text
    found = []
    for number, told in enumerate(_TOOL.split(text)[1:]):
        at = f"{where}: tool {number}"
        name, _, rest = told.partition("\nDescription: ")
        doc, colon, rest = rest.partition("\nParameters: ")
        if not colon:
            raise DataError("must have a name, 'Description:' and 'Parameters:' in lines of their own", field=at)
        schema = arguments(rest.partition("\n")[0], at)
        shape = json_schema(schema if "properties" in schema else {"type": "object", "properties": schema})
        value = {"name": name.strip(), "description": doc.strip(), "parameters": shape}
        found.append(Tool.from_json(value, at))
    if not found:
        raise DataError("lists no tool as 'Name:', 'Description:' and 'Parameters:'", field=where)
    return tuple(found), ""


def _told(text: str, dialogue: Dialogue, where: str) -> None:
    """A user's text: their words, or the dialogue so far in tags."""
    _, mark, told = text.partition(_HISTORY)
    if not mark:
        dialogue.add(Message("user", text), where)
        return
    _add(told, dialogue, where)


def _add(text: str, dialogue: Dialogue, where: str) -> None:
    """Adds what the tags of a text hold. Text outside of them is an error: nobody could say whose words it is."""
    parts, rest = _parts(text)
    if rest:
        raise DataError(f"has text outside of its tags: {rest[:60]!r}", field=where)
    thought, begun = "", False
    for kind, said in parts:
        last = dialogue.messages[-1] if dialogue.messages and begun else None
        match kind:
            case "user":
                dialogue.add(Message("user", said), where)
            case "obs":
                dialogue.result(said, where)
            case "think":
                thought = f"{thought}\n{said}".strip()
                continue
            case "tool_call":
                made = tuple(calls(said, where)) if said else ()
                if last and last.role == "assistant" and not thought:
                    dialogue.messages[-1] = replace(last, tool_calls=last.tool_calls + made)
                else:
                    dialogue.add(Message("assistant", "", made, weight=0.0, reasoning=thought or None), where)
            case _:
                if last and last.role == "assistant" and not thought and not last.content:
                    dialogue.messages[-1] = replace(last, content=said)
                else:
                    dialogue.add(Message("assistant", said, weight=0.0, reasoning=thought or None), where)
        thought, begun = "", True
    if thought:
        dialogue.add(Message("assistant", "", weight=0.0, reasoning=thought), where)


def _parts(text: str) -> tuple[list[tuple[str, str]], str]:
    """The tags in a text with what stands in each, and the text outside of them."""
    parts: list[tuple[str, str]] = []
    rest, position = "", 0
    for match in _OPENING.finditer(text):
        if match.start() < position:
            continue
        closing = f"</{match[1]}>"
        end = text.find(closing, match.end())
        if end < 0:
            return parts, (rest + text[position:]).strip()
        rest += text[position : match.start()]
        parts.append((match[1], text[match.end() : end].strip()))
        position = end + len(closing)
    return parts, (rest + text[position:]).strip()


def _recognises(row: Mapping[str, Any]) -> bool:
    """verl's rows with an answer between ToolRL's tags."""
    gold = row.get("reward_model")
    text = gold.get("ground_truth") if isinstance(gold, dict) else None
    is_answer = isinstance(text, str) and bool(_parts(text)[0])
    return is_answer and isinstance(row.get("prompt"), list) and "messages" not in row


FORMAT = Format(
    name="toolrl",
    description="ToolRL's RLLA data in verl's rows: `prompt`, and `reward_model.ground_truth` with `<think>`, "
    "`<tool_call>`, `<response>`; cases where cases are wanted",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    cases=each_row(cases),
    source="https://github.com/qiancheng0/ToolRL",
)
