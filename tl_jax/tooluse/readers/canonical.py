"""Our own rows: trajectories ``{id, suite, tools, messages, meta}``; cases have ``gold`` and ``gold_kind`` as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.format import Format, Writer
from tl_jax.tooluse.readers.messages import read_conversation, read_row
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.schema import Case, Trajectory, gold_calls, gold_kind


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The trajectory in a row."""
    with Fields(row) as fields:
        return [read_row(fields, None)]


def cases(row: Any, place: Place) -> list[Case] | list[Trajectory]:
    """The case in a row, or the trajectory in one without gold calls."""
    return trajectories(row, place) if isinstance(row, dict) and not is_case(row) else [case(row)]


def case(row: Any) -> Case:
    """The case in a row."""
    with Fields(row) as fields:
        gold, kind = fields.take("gold", default=None) or [], gold_kind(fields)
        split = fields.take("split", kind=str, default="")
        reader, found = read_conversation(fields, None)
        calls = gold_calls(gold, reader.call)
    return Case(found.id, found.tools, found.messages, calls, kind, found.suite, split, found.meta)


def is_case(row: Mapping[str, Any]) -> bool:
    """Whether a row says what the right answer is, or that there is none."""
    return "gold" in row or "gold_kind" in row


FORMAT = Format(
    name="canonical",
    description="our own rows, as above and below; what every command writes",
    recognises=lambda row: isinstance(row.get("messages"), list),
    trajectories=each_row(trajectories),
    cases=each_row(cases),
    is_case=is_case,
    write=Writer(Trajectory.to_json, trajectories),
)
