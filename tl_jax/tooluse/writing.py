"""Trajectories in the formats of others, and what these formats cannot say.

Nothing is believed: each row is read again, and whatever it then says otherwise is an error that names the field, or is
left out by the user's own option and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tl_jax.tooluse.fields import left_out
from tl_jax.tooluse.notes import Notes, remark
from tl_jax.tooluse.pairing import named, pairs
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.registry import FORMATS
from tl_jax.tooluse.readers.rows import Place
from tl_jax.tooluse.schema import DataError, Message, Trajectory

WITHOUT_IDS = "id of a call not written: the order of calls and results says the same"

_OPTIONAL = ("name", "weight", "error", "reasoning", "refusal")
"""What a message may lose without becoming another one."""


def writable() -> list[str]:
    """The formats that trajectories can be written in."""
    return [name for name, format in FORMATS.items() if format.write is not None]


def written(trajectory: Trajectory, format: Format) -> dict[str, Any]:
    """A trajectory as a row of a format.

    Raises:
        DataError: the format cannot say something, and fields that are not known are errors (`Notes.unknown`); or
            it would say something else instead.
    """
    if format.write is None:
        raise ValueError(f"{format.name} is not written")
    row: dict[str, Any] = json.loads(json.dumps(format.write.row(trajectory)))
    try:
        with Notes().kept():  # what there is to say about a file that nobody has read yet is said to nobody
            (again,) = format.write.read(row, Place(Path(format.name)))
    except DataError as error:
        raise DataError(f"cannot be written as {format.name}: {error.problem}", field=error.field) from None
    for where in _changed(trajectory, again):
        raise DataError(f"cannot be written as {format.name}, which would read it as something else", field=where)
    for where in _lost(trajectory, again):
        left_out(where, f"{format.name} has no field for it")
    return row


def _changed(before: Trajectory, after: Trajectory) -> Iterator[str]:
    """What would say something else, and not only less."""
    if [tool.name for tool in before.tools] != [tool.name for tool in after.tools]:
        yield "tools"
    for index, (old, new) in enumerate(zip(before.tools, after.tools, strict=False)):
        for name in ("description", "parameters"):
            if getattr(old, name) != getattr(new, name):
                yield f"tools[{index}].{name}"
    for index, (one, other) in enumerate(zip(before.messages, after.messages, strict=False)):
        for name in ("role", "content"):
            if getattr(one, name) != getattr(other, name):
                yield f"messages[{index}].{name}"
        plain = [(call.name, call.arguments) for call in one.tool_calls]
        if plain != [(call.name, call.arguments) for call in other.tool_calls]:
            yield f"messages[{index}].tool_calls"
        for name in _OPTIONAL:
            if getattr(other, name) and getattr(one, name) and getattr(one, name) != getattr(other, name):
                yield f"messages[{index}].{name}"
    if len(before.messages) != len(after.messages):
        yield f"messages[{min(len(before.messages), len(after.messages))}]"
    mine, theirs = pairs(before.messages).call_of, pairs(after.messages).call_of
    for index in sorted(mine.keys() | theirs.keys()):
        if mine.get(index) != theirs.get(index):
            yield f"messages[{index}].call_id"


def _lost(before: Trajectory, after: Trajectory) -> Iterator[str]:
    """The fields that are gone. What can be told from the rest, such as the name of a result's tool, is not."""
    for name in ("id", "suite", "meta"):
        if getattr(before, name) != getattr(after, name):
            yield name
    for index, (old, new) in enumerate(zip(before.tools, after.tools, strict=True)):
        yield from (f"tools[{index}].{key}" for key in old.extra if old.extra[key] != new.extra.get(key))
    told = named([replace(message, name=None) if message.role == "tool" else message for message in before.messages])
    for index, (one, other) in enumerate(zip(before.messages, after.messages, strict=True)):
        for name in _OPTIONAL:
            if getattr(one, name) != getattr(other, name) and not (name == "name" and _told(one, other, told[index])):
                yield f"messages[{index}].{name}"
        for number, (call, same) in enumerate(zip(one.tool_calls, other.tool_calls, strict=True)):
            for name in ("wild", "accepted", "optional"):
                if getattr(call, name) != getattr(same, name):
                    yield f"messages[{index}].tool_calls[{number}].{name}"
            if call.id is not None and same.id is None:
                remark(WITHOUT_IDS)


def _told(before: Message, after: Message, told: Message) -> bool:
    """Whether a result is named after its call, or was not named and is now."""
    return before.role == "tool" and after.name == told.name and before.name in (None, told.name)
