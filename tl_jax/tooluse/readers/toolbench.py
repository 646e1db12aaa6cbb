"""ToolBench and StableToolBench (https://github.com/OpenBMB/ToolBench, https://github.com/THUNLP-MT/StableToolBench).

Two forms are read: an answer as the search for it leaves it, one file each, whose ``answer_generation`` holds
``function`` (the tools) and ``train_messages`` (the way to every step; the last one is the whole path), and the rows
that ToolLLaMA is trained on, ``{id, conversations: [{from, value}]}``, one for every step of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.readers import react, sharegpt
from tl_jax.tooluse.readers.fields import member
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.messages import conversation
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.toolbox import joined
from tl_jax.tooluse.schema import DataError, Trajectory

APIS = "have access to the following APIs:"
"""What stands before the tools in the system prompt of a training row."""
_IS_ANSWER = has("answer_generation", without="messages")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The path in a row. The system prompt, which describes tools and format, is left out."""
    if isinstance(row, dict) and "answer_generation" in row:
        return [_answer(row, place)]
    conversation = member(row, "conversations", list)
    prompt = member(conversation[0] if conversation else None, "value", str, "conversations[0]")
    tools = react.tools(prompt, APIS, "conversations[0].value")
    messages = tuple(react.messages(conversation))
    if not messages:
        raise DataError("holds nothing but the system prompt", field="conversations")
    return [Trajectory(place.name, tools, messages, "toolbench", {"source_id": row.get("id")})]


def _answer(row: dict[str, Any], place: Place) -> Trajectory:
    answer = member(row, "answer_generation", dict)
    paths = member(answer, "train_messages", list, "answer_generation")
    if not paths:
        raise DataError("is empty: the run reached no answer", field="answer_generation.train_messages")
    where = f"answer_generation.train_messages[{len(paths) - 1}]"
    found = conversation(place.name, paths[-1], answer.get("function"), where)
    messages = joined(
        replace(message, content=react.question(message.content)) if message.role == "user" else message
        for message in found.messages
        if message.role != "system"
    )
    if not messages:
        raise DataError("holds nothing but the system prompt", field=where)
    meta = {key: answer[key] for key in ("query", "valid_data", "finish_type") if key in answer}
    return replace(found, messages=messages, suite="toolbench", meta=meta)


def _recognises(row: Mapping[str, Any]) -> bool:
    prompt = sharegpt.system_prompt(row)
    return _IS_ANSWER(row) or (APIS in prompt and "Action Input" in prompt)


FORMAT = Format(
    name="toolbench",
    description="ToolBench and StableToolBench: one answer a file (`answer_generation`), or ToolLLaMA's training rows",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://github.com/OpenBMB/ToolBench",
)
