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

from tl_jax.tooluse.readers.fields import arguments, member, plain
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.toolbox import beside, calls_of, inferred, is_tools
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory


def read(path: Path, report: Report | None) -> Iterator[Trajectory]:
    """Trajectories."""
    return read_rows(path, partial(trajectories, offered=beside(path)), report)


def trajectories(row: Any, place: Place, offered: tuple[Tool, ...] | None = None) -> list[Trajectory]:
    """The conversation in a row."""
    messages: list[Message] = []
    for index, turn in enumerate(member(row, "conversation", list)):
        where = f"conversation[{index}]"
        role, text = member(turn, "role", str, where), member(turn, "text", str, where)
        if role not in ("user", "assistant"):
            raise DataError(f"unknown role {role!r}; expected user or assistant", field=f"{where}.role")
        for number, api in enumerate(member(turn, "apis", list, where) if turn.get("apis") else []):
            messages += _call(api, f"{where}.apis[{number}]")
        messages.append(Message("user" if role == "user" else "assistant", text))
    if not messages:
        raise DataError("has no turns", field="conversation")
    meta = {"scenario": row["scenario"]} if isinstance(row.get("scenario"), str) else {}
    identity = f"tooltalk/{place.name}"
    tools = offered if offered is not None else inferred(calls_of(messages))
    return [Trajectory(identity, tools, tuple(messages), "tooltalk", meta)]


def _call(api: Any, where: str) -> list[Message]:
    request = member(api, "request", dict, where)
    name = member(request, "api_name", str, f"{where}.request")
    made = Call(name, arguments(request.get("parameters") or {}, f"{where}.request.parameters"))
    result = api["exception"] if api.get("exception") else api.get("response")
    return [Message("assistant", tool_calls=(made,)), Message("tool", plain(result), name=name)]


FORMAT = Format(
    name="tooltalk",
    description="ToolTalk: one conversation a file",
    recognises=has("conversation", "apis_used", without="messages"),
    trajectories=read,
    is_companion=is_tools,
    source="https://github.com/microsoft/ToolTalk",
)
