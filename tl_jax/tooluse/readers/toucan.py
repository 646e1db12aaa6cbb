"""Toucan-1.5M (https://huggingface.co/datasets/Agent-Ark/Toucan-1.5M): messages and tools as JSON text.

The system message, in the template of whichever model made the row, lists the tools once more and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.dialogue import around
from tl_jax.tooluse.readers.fields import listed, literal
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.swift import dialogue_of
from tl_jax.tooluse.schema import DataError, Trajectory

_ABOUT = (
    *("uuid", "subset_name", "question", "target_tools", "metadata"),
    *("question_quality_assessment", "response_quality_assessment"),
    *("question_quality_assessment_sft", "response_quality_assessment_sft"),
)


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        about = {name: _read(value) for name, value in fields.keep(*_ABOUT).items()}
        messages = listed(fields, "messages")
        reader = MessageReader(padded=is_padded(messages))
        reader.offer(fields, "available_tools", "tools")
        beside = around(fields, str(about.get("uuid") or place.name), "toucan")
    dialogue = dialogue_of([(value, f"messages[{i}]") for i, value in enumerate(messages)], reader)
    beside.meta = {**about, **beside.meta}
    return [dialogue.trajectory(beside, reader.tools, "", "messages")]


def _read(value: Any) -> Any:
    """The value in a text that is JSON; other text as it is."""
    if isinstance(value, str) and value.strip().startswith(("{", "[")):
        try:
            return literal(value, "")
        except DataError:
            return value
    return value


def _recognises(row: Mapping[str, Any]) -> bool:
    """Messages beside what Toucan says about them."""
    about = ("subset_name", "target_tools", "question_quality_assessment")
    return row.get("messages") is not None and "question" in row and any(row.get(name) is not None for name in about)


FORMAT = Format(
    name="toucan",
    description="Toucan-1.5M: `messages` and `available_tools` (or `tools`) as JSON text, beside `question` and "
    "`target_tools`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://huggingface.co/datasets/Agent-Ark/Toucan-1.5M",
)
