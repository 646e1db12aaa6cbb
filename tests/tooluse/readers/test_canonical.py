"""Our own rows, and cases made of trajectories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tooluse import strategies
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.readers import canonical, read_cases, read_trajectories
from tl_jax.tooluse.readers.rows import Place
from tl_jax.tooluse.schema import Call, Case, Trajectory, decision_points

CALL = {"name": "f", "arguments": {"a": 1}}
EXAMPLES = [
    {
        "id": "t",
        "tools": [{"name": "f"}],
        "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [CALL]}],
    }
]
HERE = Place(Path("x.jsonl"), line=1)


@given(st.lists(strategies.tools(), max_size=2), strategies.messages())
def test_rows_come_back_as_they_were_written(tools: list, messages: list) -> None:
    trajectory = Trajectory("t", tuple(tools), tuple(messages), "suite", {"errors": 1})
    row = json.loads(json.dumps(trajectory.to_json()))
    assert canonical.trajectories(row, HERE) == [trajectory]
    case = Case(
        "c",
        tuple(tools),
        tuple(messages),
        ((Call("f", {"a": 1}, ("a",)),),),
        "sequence",
        "suite",
        "split",
        {"finish": "end"},
    )
    assert canonical.cases(json.loads(json.dumps(case.to_json())), HERE) == [case]


def test_a_trajectory_given_as_cases_gives_its_decision_points(tmp_path: Path) -> None:
    row = {
        "id": "t",
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
            {"role": "tool", "content": "3"},
            {"role": "assistant", "content": "done"},
        ],
    }
    case = {"id": "c", "messages": row["messages"][:1], "gold": [], "gold_kind": "none"}
    path = tmp_path / "mixed.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(case) + "\n", encoding="utf-8")
    first, second = read_cases(path)
    assert (first.id, first.gold, len(first.messages)) == ("t#1", ((Call("f", {"a": 1}),),), 1)
    assert (second.id, second.gold_kind) == ("c", "none")


@pytest.mark.long
def test_real_files(shared_data: Path) -> None:
    trajectories = list(read_trajectories(shared_data / "train" / "permissive_1018.jsonl"))
    assert len(trajectories) == 1018
    failed = {f"{item.id}#{block.message}" for item in trajectories for block in blocked_turns(item)}
    points = [point for item in trajectories for point in decision_points(item) if point.id not in failed]
    assert list(read_cases(shared_data / "train" / "permissive_1018.jsonl")) == points
    sizes = {path.stem: len(list(read_cases(path))) for path in (shared_data / "eval").glob("*.jsonl")}
    assert sizes["toolalpaca"] == 114
    assert sizes["rotbench_slight"] == 210
    assert sizes["tooleyes"] == 382
