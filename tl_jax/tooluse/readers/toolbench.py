"""ToolBench and StableToolBench (https://github.com/OpenBMB/ToolBench, https://github.com/THUNLP-MT/StableToolBench).

Two forms are read: an answer as the search for it leaves it, one file each, whose ``answer_generation`` holds
``function`` (the tools) and ``train_messages`` (the way to every step; the last one is the whole path), and the rows
that ToolLLaMA is trained on, ``{id, conversations: [{from, value}]}``, one for every step of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers import react, sharegpt
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.messages import conversation
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.toolbox import joined
from tl_jax.tooluse.schema import DataError, Trajectory

_SEARCH = (
    *("win", "tree", "forward_args", "compare_candidates", "try_list", "finish", "trys", "now_depth"),
    *("final_answer", "chain", "query_count", "try_count", "total_tokens"),
)
"""How the answer was searched for: other paths than the one that is read, and counts."""
APIS = "have access to the following APIs:"
"""What stands before the tools in the system prompt of a training row."""
_IS_ANSWER = has("answer_generation", without="messages")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The path in a row. The system prompt, which describes tools and format, is left out."""
    if isinstance(row, dict) and "answer_generation" in row:
        return [_answer(row, place)]
    with Fields(row) as fields:
        turns, source_id = fields.take("conversations", kind=list), fields.take("id", default=None)
    prompt = react.said(turns[0] if turns else None, "conversations[0]")
    tools = react.tools(prompt, APIS, "conversations[0].value")
    messages = tuple(react.messages(turns))
    if not messages:
        raise DataError("holds nothing but the system prompt", field="conversations")
    return [Trajectory(place.name, tools, messages, "toolbench", {"source_id": source_id})]


def _answer(row: dict[str, Any], place: Place) -> Trajectory:
    with Fields(row) as whole, Fields(whole.take("answer_generation"), "answer_generation") as answer:
        whole.keep(*_SEARCH)
        paths, tools = answer.take("train_messages", kind=list), answer.take("function", default=None)
        meta = answer.keep("query", "valid_data", "finish_type")
        answer.keep(*_SEARCH)
    if not paths:
        raise DataError("is empty: the run reached no answer", field="answer_generation.train_messages")
    where = f"answer_generation.train_messages[{len(paths) - 1}]"
    found = conversation(place.name, paths[-1], tools, where)
    messages = joined(
        replace(message, content=react.question(message.content)) if message.role == "user" else message
        for message in found.messages
        if message.role != "system"
    )
    if not messages:
        raise DataError("holds nothing but the system prompt", field=where)
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
