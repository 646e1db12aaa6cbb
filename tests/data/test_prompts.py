"""Where decision points come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from tl_jax.config import MaeConfig
from tl_jax.data.prompts import load_cases
from tl_jax.tooluse.mae.apply import FAILED_CALLS
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.schema import DataError

TOOLS = [{"name": "go", "description": ""}, {"name": "stop", "description": ""}]
Write = Callable[[list[dict[str, Any]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def rows_to_file(rows: list[dict[str, Any]]) -> Path:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return rows_to_file


def case(name: str, **more: Any) -> dict[str, Any]:
    gold = [[{"name": "go", "arguments": {}}]]
    return {"id": name, "tools": TOOLS, "messages": [{"role": "user", "content": "go"}], "gold": gold} | more


def trajectory() -> dict[str, Any]:
    """Two calls, the first of which fails."""
    return {
        "id": "t",
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [{"name": "run", "arguments": {}}]},
            {"role": "tool", "content": '{"error": "there is no tool named run"}'},
            {"role": "assistant", "tool_calls": [{"name": "go", "arguments": {}}]},
            {"role": "tool", "content": "gone"},
            {"role": "assistant", "content": "Done."},
        ],
    }


def test_cases_in_the_order_of_the_file(write: Write) -> None:
    path = write([case("b"), case("a"), case("c")])
    assert [item.id for item in load_cases(path)] == ["b", "a", "c"]
    assert [item.id for item in load_cases(path, limit=2)] == ["b", "a"]


def test_calls_of_trajectories_are_cases_unless_mae_blocks_them(write: Write) -> None:
    path = write([trajectory()])
    notes = Notes()
    (kept,) = load_cases(path, notes=notes)
    assert notes.remarks == {FAILED_CALLS: 1}
    assert kept.id == "t#3"
    assert len(kept.messages) == 3  # the failed call is context
    assert kept.messages[1].weight is None
    assert kept.gold[0][0].name == "go"
    assert [item.id for item in load_cases(path, mae=MaeConfig(rule="none", block="all"))] == ["t#1", "t#3"]
    assert [item.id for item in load_cases(path, mae=MaeConfig(factor=0.5))] == ["t#3"]  # a failed call is no gold


def test_of_trajectories_among_cases_mae_blocks_what_it_is_told(write: Write) -> None:
    path = write([case("a"), trajectory()])
    assert [item.id for item in load_cases(path)] == ["a", "t#3"]
    assert [item.id for item in load_cases(path, mae=MaeConfig(rule="none", block="all"))] == ["a", "t#1", "t#3"]


def test_an_id_that_appears_twice_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: id: 'a' appears twice"):
        load_cases(write([case("a"), case("a")]))


def test_a_table_of_cases_is_one_too(write: Write, tmp_path: Path) -> None:
    gold = [[{"name": "go", "arguments": {"to": "Oslo"}}]]  # a table knows no empty arguments
    tools = [{"name": "go", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}}]
    rows = [case(name, gold=gold, tools=tools, suite="s") for name in "ab"]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "cases.parquet")
    expected = [item.to_json() for item in load_cases(write(rows))]
    assert [item.to_json() for item in load_cases(tmp_path / "cases.parquet")] == expected
    datasets.Dataset.from_list([rows[0], rows[0]]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice\.parquet: id: 'a' appears twice"):
        load_cases(tmp_path / "twice.parquet")


def test_a_file_without_cases_is_an_error(write: Write) -> None:
    row = trajectory()
    row["messages"] = row["messages"][:1] + row["messages"][-1:]
    with pytest.raises(DataError, match="holds no cases"):
        load_cases(write([row]))


@pytest.mark.parametrize(("suite", "count"), [("toolalpaca", 114), ("rotbench_clean", 105), ("bfcl_exec_parallel", 50)])
def test_real_suites(shared_data: Path, suite: str, count: int) -> None:
    assert len(load_cases(shared_data / "eval" / f"{suite}.jsonl")) == count
