"""ToolEyes (https://github.com/Junjie-Ye/ToolEyes): ``{id, conversations: [{from, value}], path, scenario}``.

The queries are to be solved by running tools; there is no gold answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers import react
from tl_jax.tooluse.readers.fields import member
from tl_jax.tooluse.readers.rotbench import TOOLS
from tl_jax.tooluse.readers.rows import OnError, Place, Report, read_rows
from tl_jax.tooluse.schema import Case, DataError


def read(path: str | Path, on_error: OnError = "raise", report: Report | None = None) -> Iterator[Case]:
    """Cases; see `read_rows` for errors."""
    return read_rows(path, cases, on_error, report)


def cases(row: Any, place: Place) -> list[Case]:
    """The query in a row; ``meta.library`` is the folder of ToolEyes that holds its tools."""
    conversation = member(row, "conversations", list)
    if len(conversation) < 2:
        raise DataError("must be a system prompt and a question", field="conversations")
    where = "conversations[0].value"
    tools = react.tools(member(conversation[0], "value", str, "conversations[0]"), TOOLS, where)
    if len(tools) < 2:
        raise DataError("lists fewer than two tools; the last two ask the user and end the task", field=where)
    index = place.item if place.item is not None else (place.line or 1) - 1
    split = "five_shot" if "five" in place.path.stem else "zero_shot"
    meta = {
        "index": index,
        "source_id": member(row, "id", str),
        "scenario": row.get("scenario"),
        "library": "/".join(member(row, "path", str).split("/")[-2:]),
        "finish": tools[-1].name,
        "ask_to_user": tools[-2].name,
    }
    messages = tuple(react.messages(conversation))
    return [Case(f"tooleyes/{split}/{index:04d}", tools, messages, (), "none", "tooleyes", split, meta)]
