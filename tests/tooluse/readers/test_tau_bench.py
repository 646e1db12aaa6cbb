"""tau-bench."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    LOOKUP,
    changed,
    document,
    lines,
    real_trajectories,
)
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

TAU_BENCH = {
    "task_id": 3,
    "trial": 1,
    "reward": 0.0,
    "info": {},
    "traj": [
        {"role": "system", "content": "Policy."},
        {"role": "user", "content": "Cancel it."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "cancel", "arguments": '{"id": "X1"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "name": "cancel", "content": "Error: not found"},
        {"role": "assistant", "content": "It does not exist."},
    ],
}


EXAMPLES = [TAU_BENCH]


def test_a_history_of_tau_bench(tmp_path: Path) -> None:
    other = {**TAU_BENCH, "trial": 2, "traj": [{"role": "user", "content": "Hi."}]}
    path = document(tmp_path / "gpt-4o-airline.json", [TAU_BENCH, other])
    first, second = read_trajectories(path)
    assert (first.id, second.id) == ("tau_bench/3/1", "tau_bench/3/2")
    assert first.messages == (
        Message("system", "Policy."),
        Message("user", "Cancel it."),
        Message("assistant", tool_calls=(Call("cancel", {"id": "X1"}),)),
        Message("tool", "Error: not found", name="cancel", call_id="a"),
        Message("assistant", "It does not exist."),
    )
    assert [item.name for item in second.tools] == ["cancel"]  # the tools of the whole file
    assert first.meta == {"reward": 0.0, "task_id": 3, "trial": 1, "info": {}, "tools": "inferred from the calls"}
    document(tmp_path / "gpt-4o-airline.tools.json", [{"type": "function", "function": LOOKUP}])
    assert [item.tools for item in read_trajectories(path)] == [(Tool.from_json(LOOKUP),)] * 2


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [changed(TAU_BENCH, "traj.3.tool_call_id", "b")],
            r"1: traj\[3\]\.tool_call_id: 'b' is the id of no",
        ),
        ([changed(TAU_BENCH, "traj.1.role", "alien")], r"1: traj\[1\]\.role: unknown role 'alien'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:" + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", *rows), "tau-bench"))


def test_real_tau_bench_episodes_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    episodes = [item for item in real_trajectories(shared_data) if item.suite == "tau_airline"][:50]
    rows = []
    for number, episode in enumerate(episodes):
        made: list[dict[str, Any]] = []
        for message in episode.messages:
            row: dict[str, Any] = {"role": message.role, "content": message.content or None}
            if message.tool_calls:
                (call,) = message.tool_calls
                function = {"name": call.name, "arguments": json.dumps(call.arguments)}
                row["tool_calls"] = [{"id": f"call_{len(made)}", "type": "function", "function": function}]
            if message.role == "tool":
                row |= {"tool_call_id": f"call_{len(made) - 1}", "name": message.name, "content": message.content}
            made.append(row)
        rows.append({"task_id": number, "reward": 1.0, "info": {}, "traj": made, "trial": 0})
    document(tmp_path / "tools.json", [item.to_json() for item in episodes[0].tools])
    found = list(read_trajectories(document(tmp_path / "airline.json", rows)))
    without_ids = [tuple(replace(message, call_id=None) for message in item.messages) for item in found]
    assert without_ids == [item.messages for item in episodes]
    assert [item.tools for item in found] == [item.tools for item in episodes]
