"""RoTBench (https://github.com/Junjie-Ye/RoTBench): ``{id, conversations: [{from, value}], scenario}``.

A file holds one noise level, which its name says. First-turn files have 105 rows and third-turn files 70; where the
noise is in the tools' names or in their parameters (slight, medium, heavy) there are twice as many, first all rows
with noised names. Noise renames, or swaps, any tool: which one ends the task and which one asks the user is told by
their places, the last and the one before.
"""

from __future__ import annotations

import re
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers import react, sharegpt
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Call, Case, DataError, Tool

TOOLS = "of the following tools:"
"""What stands before the tools in the system prompt."""

LEVELS = ("clean", "slight", "medium", "heavy", "union")
"""Of noise, the weakest first."""
_LEVEL = re.compile("|".join(LEVELS))
_FIRST_ROWS, _THIRD_ROWS = 105, 70


def cases(row: Any, place: Place) -> list[Case]:
    """The case in a row: gold calls are alternatives; values of ``None`` and of the two special tools are wild."""
    with Fields(row) as fields:
        conversation, source_id = fields.take("conversations", kind=list), fields.take("id", kind=str)
        scenario = fields.take("scenario", default=None)
    if len(conversation) < 3:
        raise DataError("must be a system prompt, a question and the gold calls", field="conversations")
    level = _LEVEL.search(place.path.stem.lower())
    if not level:
        raise DataError("the file's name must say the noise: clean, slight, medium, heavy or union", field="row")
    tools, ask, finish = offered(conversation)
    third = len(conversation) > 3
    split = f"third_turn_{level[0]}" if third else level[0]
    clean_rows = _THIRD_ROWS if third else _FIRST_ROWS
    meta = {
        "index": place.index,
        "source_id": source_id,
        "scenario": scenario,
        "noise_kind": _noise(level[0], place.index < clean_rows),
        "clean_index": place.index % clean_rows,
        "finish": finish,
        "ask_to_user": ask,
    }
    gold = tuple(
        (_wild(call, (ask, finish)),) for call in _gold(conversation[-1], f"conversations[{len(conversation) - 1}]")
    )
    messages = tuple(react.messages(conversation[:-1]))
    identity = f"rotbench/{split}/{place.index:04d}"
    return [Case(identity, tools, messages, gold, "alternatives", "rotbench", split, meta)]


def offered(conversation: list[Any]) -> tuple[tuple[Tool, ...], str, str]:
    """The tools in a system prompt, and the names of the two special ones: to ask the user, and to end the task.

    Raises:
        DataError: there is no list of at least two tools.
    """
    where = "conversations[0].value"
    tools = react.tools(react.said(conversation[0], "conversations[0]"), TOOLS, where)
    if len(tools) < 2:
        raise DataError("lists fewer than two tools; the last two ask the user and end the task", field=where)
    return tools, tools[-2].name, tools[-1].name


def _gold(message: Any, where: str) -> list[Call]:
    with Fields(message, where) as fields:
        fields.expect("from", "assistant", "gpt")
        answers = fields.take("value")
    texts = answers if isinstance(answers, list) else [answers]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError("must be the gold calls as a list of texts", field=f"{where}.value")
    return [react.call(text, f"{where}.value[{i}]")[1] for i, text in enumerate(texts)]


def _wild(call: Call, free: tuple[str, str]) -> Call:
    """RoTBench's script compares neither values of "None" nor those of the two special tools."""
    wild = tuple(name for name, value in call.arguments.items() if value == "None" or call.name in free)
    return Call(call.name, call.arguments, wild)


def _noise(level: str, first_half: bool) -> str:
    return {"clean": "none", "union": "union"}.get(level, "tool_name" if first_half else "parameter")


FORMAT = Format(
    name="rotbench",
    description="RoTBench, first and third turn; the file's name tells the noise",
    recognises=lambda row: TOOLS in sharegpt.system_prompt(row) and "scenario" in row,
    cases=each_row(cases),
    source="https://github.com/Junjie-Ye/RoTBench",
)
