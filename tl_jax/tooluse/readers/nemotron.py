"""Nemotron-Agentic v1 and v2 (https://huggingface.co/datasets/nvidia/Nemotron-Agentic-v1), and NVIDIA's other rows.

OpenAI's messages with ``reasoning_content``, and tools, beside ``uuid``, ``license``, ``used_in`` and ``reasoning``
(``on`` or ``off``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.messages import read_conversation
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Trajectory


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The conversation in a row."""
    with Fields(row) as fields:
        about = fields.keep("used_in", "reasoning", "capability_target", "generator", "system_prompt_id")
        _, found = read_conversation(fields, place.name, hermes=True)
    name = found.meta.get("uuid") if found.id == place.name else None
    return [replace(found, id=str(name or found.id), suite=found.suite or "nemotron", meta={**about, **found.meta})]


def _recognises(row: Mapping[str, Any]) -> bool:
    switched = row.get("reasoning") in ("on", "off")
    return isinstance(row.get("messages"), list) and ("used_in" in row or switched)


FORMAT = Format(
    name="nemotron",
    description="Nemotron-Agentic v1 and v2: `messages` with `reasoning_content`, `tools`, beside `uuid`, `used_in`, "
    "`reasoning`",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    source="https://huggingface.co/datasets/nvidia/Nemotron-Agentic-v1",
)
