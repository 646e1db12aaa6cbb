"""ToolEyes (https://github.com/Junjie-Ye/ToolEyes): ``{id, conversations: [{from, value}], path, scenario}``.

The queries are to be solved by running tools; there is no gold answer.
"""

from __future__ import annotations

from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers import react, rotbench
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Case, DataError


def cases(row: Any, place: Place) -> list[Case]:
    """The query in a row; ``library`` in its ``meta`` is the folder of ToolEyes that holds its tools."""
    with Fields(row) as fields:
        conversation, source_id = fields.take("conversations", kind=list), fields.take("id", kind=str)
        scenario, path = fields.take("scenario", default=None), fields.take("path", kind=str)
    if len(conversation) < 2:
        raise DataError("must be a system prompt and a question", field="conversations")
    tools, ask, finish = rotbench.offered(conversation)
    split = "five_shot" if "five" in place.path.stem else "zero_shot"
    meta = {
        "index": place.index,
        "source_id": source_id,
        "scenario": scenario,
        "library": "/".join(path.split("/")[-2:]),
        "finish": finish,
        "ask_to_user": ask,
    }
    messages = tuple(react.messages(conversation))
    return [Case(f"tooleyes/{split}/{place.index:04d}", tools, messages, (), "none", "tooleyes", split, meta)]


FORMAT = Format(
    name="tooleyes",
    description="ToolEyes' queries, without gold",
    recognises=lambda row: rotbench.FORMAT.recognises(row) and "path" in row,
    cases=each_row(cases),
    source="https://github.com/Junjie-Ye/ToolEyes",
)
