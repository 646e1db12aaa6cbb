"""ToolTalk (https://github.com/microsoft/ToolTalk): one conversation a file.

It is ``{conversation: [turns], apis_used}``. A turn of the assistant lists the calls made before its text: ``apis:
[{request: {api_name, parameters}, response, exception}]``. The tools are read from a file beside (see
`toolbox.beside`) or put together from their calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.fields import call_arguments, plain
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.toolbox import beside, calls_of, inferred, is_tools
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory


def read(path: Path, report: Report | None) -> Iterator[Trajectory]:
    """Trajectories."""
    return read_rows(path, partial(trajectories, offered=beside(path)), report)


def trajectories(row: Any, place: Place, offered: tuple[Tool, ...] | None = None) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        turns = fields.each("conversation")
        meta = fields.keep("scenario", "name", "conversation_id", "suites_used", "apis_used", "metadata", "user")
    messages: list[Message] = []
    for value, where in turns:
        with Fields(value, where) as turn:
            role, text = turn.take("role", kind=str), turn.take("text", kind=str)
            turn.take("index", default=None)
            if role not in ("user", "assistant"):
                raise DataError(f"unknown role {role!r}; expected user or assistant", field=f"{where}.role")
            for api, at in turn.each("apis"):
                messages += _call(api, at)
        messages.append(Message("user" if role == "user" else "assistant", text))
    if not messages:
        raise DataError("has no turns", field="conversation")
    identity = f"tooltalk/{place.name}"
    tools = offered if offered is not None else inferred(calls_of(messages))
    return [Trajectory(identity, tools, tuple(messages), "tooltalk", meta)]


def _call(api: Any, where: str) -> list[Message]:
    padded = is_padded([])
    with Fields(api, where) as fields, Fields(fields.take("request"), f"{where}.request") as request:
        name = request.take("api_name", kind=str)
        given = call_arguments(request, None, padded, "parameters")
        response, exception = fields.take("response", default=None), fields.take("exception", default=None)
    made = Call(name, given)
    result = Message("tool", plain(exception or response, padded), name=name, error=bool(exception))
    return [Message("assistant", tool_calls=(made,)), result]


FORMAT = Format(
    name="tooltalk",
    description="ToolTalk: one conversation a file",
    recognises=has("conversation", "apis_used", without="messages"),
    trajectories=read,
    is_companion=is_tools,
    source="https://github.com/microsoft/ToolTalk",
)
