"""ToolACE (https://huggingface.co/datasets/Team-ACE/ToolACE): ``{system, conversations: [{from, value}]}``.

The system text lists the tools as JSON; a call is Python in brackets, ``[Tide Table API(kind="high")]``, whose name may
have blanks; a result is a list of ``{name, results}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import Dialogue, around, may_answer
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_fields import message_weight, role_named
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tagged import listed
from tl_jax.tooluse.readers.texts import prompt, spoken
from tl_jax.tooluse.readers.thoughts import apart
from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory
from tl_jax.tooluse.text.parse import bind, parse_answer

_CALLS = re.compile(r"\s*\[\s*[^\s\[\]{}()'\"][^\[\]{}()'\"]*\(.*\)\s*\]\s*", re.DOTALL)
_NAME = re.compile(r"[\[,]([^\[\]{}()'\",=]+)\(")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        tools = listed(fields.take("tools", default=None), "tools")
        tools, system = prompt(fields.take("system", kind=str, default=""), tools, "system")
        turns = fields.each("conversations")
        beside = around(fields, place.name, "toolace")
    dialogue = Dialogue()
    for (item, where), (following, _) in zip_longest(turns, turns[1:], fillvalue=({}, "")):
        with Fields(item, where) as turn:
            speaker, value = turn.take("from", "role", kind=str), turn.take("value", "content", kind=str)
            role = role_named(speaker)
            weight = message_weight(turn, role)
        if role not in ("system", "user", "assistant", "tool"):
            raise DataError(f"unknown speaker {speaker!r}", field=f"{where}.from")
        if dialogue.heard(role, value, where):
            continue
        if role == "assistant":
            message = apart(Message("assistant", value, weight=weight))
            if calls := pythonic(message.content, tools):
                said = [replace(message, content="", tool_calls=tuple(calls))]
            else:
                answered = may_answer(following)
                said = spoken(message, tools, answered, f"{where}.value", dialogue.called, dialogue.messages)
            for one in said:
                dialogue.join(one, where)
        else:
            dialogue.add(Message("user" if role == "user" else "system", value, weight=weight), where)
    return [dialogue.as_it_is(beside, tools, system, "conversations")]


def pythonic(text: str, tools: Sequence[Tool]) -> list[Call]:
    """The calls that a text is: ``[f(a=1), Name With Blanks(b="x")]``; none where it is something else.

    Any name may have blanks here, offered or not: it stands after a bracket or comma.
    """
    if not _CALLS.fullmatch(text):
        return []
    names = {tool.name for tool in tools}
    others = {name.strip(): None for name in _NAME.findall(text) if name.strip() not in names}
    answer = parse_answer(text, (*tools, *map(Tool, others)))
    if answer.problem:
        return []
    offered_tools = by_name(tools)
    pairs = zip(answer.calls, answer.positional, strict=True)
    return [bind(call, values, offered_tools.get(call.name, Tool(call.name))) for call, values in pairs]


def _recognises(row: Mapping[str, Any]) -> bool:
    """Turns by ``from``, after a system text that lists tools as JSON and not between tags."""
    turns, system = row.get("conversations"), row.get("system")
    speak = isinstance(turns, list) and bool(turns) and all(isinstance(turn, dict) and "from" in turn for turn in turns)
    if not speak or not isinstance(system, str) or row.get("tools") is not None or "<tools>" in system:
        return False
    return bool(re.search(r"\[\s*\{\s*\"(name|type|function)\"", system))


FORMAT = Format(
    name="toolace",
    description="ToolACE: `system` that lists the tools as JSON, `conversations` of `from` and `value`; calls as "
    '`[f(a="b")]`, results as `[{name, results}]`',
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://huggingface.co/datasets/Team-ACE/ToolACE",
)
