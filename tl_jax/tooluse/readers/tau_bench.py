"""tau-bench histories (https://github.com/sierra-research/tau-bench): ``{task_id, trial, reward, traj: [messages]}``.

The messages are OpenAI's and begin with the policy as system prompt. The tools are not in these files: they are read
from ``NAME.tools.json`` or ``tools.json`` beside the file, or else put together from all the calls in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.format import Format, has
from tl_jax.tooluse.readers.messages import conversation
from tl_jax.tooluse.readers.rows import Place, Report, read_rows
from tl_jax.tooluse.readers.toolbox import beside, calls_of, inferred, is_tools
from tl_jax.tooluse.schema import Trajectory


def read(path: Path, report: Report | None) -> Iterator[Trajectory]:
    """Trajectories. Without a file of tools the whole file is held in memory."""
    found = read_rows(path, _trajectory, report)
    tools = beside(path)
    return (replace(item, tools=item.tools or tools) for item in found) if tools is not None else _with_inferred(found)


def _with_inferred(found: Iterator[Trajectory]) -> Iterator[Trajectory]:
    everything = list(found)
    tools = inferred(call for item in everything for call in calls_of(item.messages))
    for item in everything:
        yield item if item.tools else replace(item, tools=tools, meta={**item.meta, "tools": "inferred from the calls"})


def _trajectory(row: Any, place: Place) -> list[Trajectory]:
    with Fields(row) as fields:
        meta = fields.keep("reward", "task_id", "trial", "info")
        messages, tools = fields.take("traj", kind=list), fields.take("tools", default=None)
    task = meta.get("task_id")
    identity = place.name if task is None else f"tau_bench/{task}/{meta.get('trial', 0)}"
    return [replace(conversation(identity, messages, tools, "traj"), suite="tau_bench", meta=meta)]


FORMAT = Format(
    name="tau-bench",
    description="tau-bench histories: `task_id`, `trial`, `reward`, `traj`",
    recognises=has("traj", without="messages"),
    trajectories=read,
    is_companion=is_tools,
    source="https://github.com/sierra-research/tau-bench",
)
