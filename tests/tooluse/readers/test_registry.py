"""Formats by name, by their first row, and rows that somebody has damaged."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tooluse.readers.helpers import EXAMPLES, TAU_BENCH, TOOLBENCH, XLAM, document, lines
from tl_jax.tooluse.readers import FORMATS, detect_format, holds_cases, read_cases, read_trajectories
from tl_jax.tooluse.schema import Case, DataError, Trajectory, decision_points

ROWS = [
    pytest.param(name, row, id=f"{name}-{number}") for name in EXAMPLES for number, row in enumerate(EXAMPLES[name])
]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_format_is_recognised_and_read(tmp_path: Path, name: str, row: Any) -> None:
    for path in (lines(tmp_path / "clean.jsonl", row), document(tmp_path / "clean.json", [row])):
        assert detect_format(path) == name
        assert holds_cases(path) == (FORMATS[name].holds == "cases")
        if FORMATS[name].trajectories:
            trajectories = list(read_trajectories(path))
            assert trajectories == list(read_trajectories(path, name))
            assert all(Trajectory.from_json(json.loads(json.dumps(item.to_json()))) == item for item in trajectories)
        cases = list(read_cases(path))
        assert cases
        assert cases == list(read_cases(path, name))
        assert all(Case.from_json(json.loads(json.dumps(item.to_json()))) == item for item in cases)


def test_every_name_has_an_example_and_a_reader() -> None:
    assert set(EXAMPLES) | {"canonical", "openai", "tl"} == set(FORMATS)


def test_one_object_over_many_lines(tmp_path: Path) -> None:
    path = document(tmp_path / "10_ChatGPT_DFS.json", TOOLBENCH)
    assert detect_format(path) == "toolbench"
    (trajectory,) = read_trajectories(path)
    assert trajectory.id == "10_ChatGPT_DFS"
    damaged = document(tmp_path / "bad.json", {"answer_generation": {"train_messages": []}})
    with pytest.raises(DataError, match=r"bad\.json: answer_generation\.train_messages: is empty"):
        list(read_trajectories(damaged))
    errors: list[DataError] = []
    assert list(read_trajectories(damaged, "auto", "skip", errors.append)) == []
    assert len(errors) == 1


def test_cases_are_no_trajectories_but_trajectories_are_cases(tmp_path: Path) -> None:
    path = lines(tmp_path / "clean.jsonl", EXAMPLES["rotbench"][0])
    with pytest.raises(DataError, match=r"clean\.jsonl: rotbench files hold evaluation cases"):
        read_trajectories(path)
    path = lines(tmp_path / "history.jsonl", TAU_BENCH)
    assert list(read_cases(path)) == [case for item in read_trajectories(path) for case in decision_points(item)]
    path = lines(tmp_path / "both.jsonl", XLAM)
    assert next(read_cases(path)).gold == (next(read_trajectories(path)).messages[1].tool_calls,)
    path = lines(tmp_path / "gold.jsonl", next(read_cases(path)).to_json())
    assert holds_cases(path)
    assert not holds_cases(path, "openai")
    with pytest.raises(ValueError, match="unknown format 'csv'; known: auto, canonical"):
        holds_cases(path, "csv")


@pytest.mark.parametrize("key", ["question", "query", "traj", "sample", "system"])
def test_our_own_rows_may_have_any_other_field(tmp_path: Path, key: str) -> None:
    row = {
        "id": "a",
        "messages": [{"role": "user", "content": "x"}],
        key: "x",
        "function": "x",
        "tools": [],
        "answers": 1,
    }
    assert detect_format(lines(tmp_path / "own.jsonl", row)) == "canonical"


values = st.sampled_from(
    [None, True, 0, -1.5, "", "x", "{", "[1]", [], {}, [[]], [None], [{}], {"type": 3}, {"name": "x"}]
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [found for key, item in inner for found in _places(item, (*place, key))]


@pytest.mark.parametrize(("name", "row"), ROWS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_rows_are_read_or_refused(tmp_path: Path, name: str, row: Any, data: st.DataObject) -> None:
    damaged = copy.deepcopy(row)
    *way, last = data.draw(st.sampled_from(_places(row)))
    target = damaged
    for key in way:
        target = target[key]
    if isinstance(target, dict) and data.draw(st.booleans()):
        del target[last]
    else:
        target[last] = data.draw(values)
    path = lines(tmp_path / "clean.jsonl", damaged)
    errors: list[DataError] = []
    for read in (FORMATS[name].trajectories, FORMATS[name].cases):
        if read:
            assert all(isinstance(item, (Trajectory, Case)) for item in read(path, errors.append))
    assert all("clean.jsonl" in str(error) and error.field for error in errors)
    with suppress(DataError):
        detect_format(path)
