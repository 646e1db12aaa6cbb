"""Rows of messages and tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import CALL, DONE, RESULT, USER, said, turn
from tests.tooluse.readers.helpers import LOOKUP, lines, read_one
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.readers.messages import OF_NO_CALL, SEVERAL
from tl_jax.tooluse.schema import Call, DataError, Message


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_system_text_beside_the_messages(tmp_path: Path, name: str) -> None:
    prompt = Message("system", "Be brief.")
    assert read_one(tmp_path, {name: "Be brief.", "messages": [USER, DONE]}).messages[0] == prompt
    same = {"role": "system", "content": "Be brief."}
    assert read_one(tmp_path, {name: "Be brief.", "messages": [same, USER]}).messages == (
        prompt,
        Message("user", "Go."),
    )
    assert read_one(tmp_path, {name: "", "messages": [USER, DONE]}).messages[0].role == "user"
    with pytest.raises(DataError, match=r"messages\[0\]: is a system message, and the row has another"):
        read_one(tmp_path, {name: "Be long.", "messages": [same, USER]})


def test_what_describes_a_row_is_kept(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "source": "here", "license": "mit", "metadata": {"n": 1}, "score": 3}
    assert read_one(tmp_path, row).meta == {"source": "here", "license": "mit", "score": 3, "n": 1}
    for name in ("context", "answer", "labels"):
        with pytest.raises(DataError, match=rf"data.jsonl:1: {name}: unknown field"):
            read_one(tmp_path, {**row, name: "x"})
    with pytest.raises(DataError, match=r"messages\[1\]\.source: unknown field"):
        said(tmp_path, DONE | {"source": "here"})


def test_pictures_beside_messages(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "images": [], "videos": None, "audios": []}
    assert read_one(tmp_path, row).meta == {}
    with pytest.raises(DataError, match=r"images: holds pictures or sounds"):
        read_one(tmp_path, {**row, "images": ["a.png"]})


@pytest.mark.parametrize("name", ["chosen", "rejected", "rejected_response", "non_preferred_output"])
def test_preference_data_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever the format, and before anything else is said about the row."""
    for row in ({"messages": [USER, DONE]}, {"conversations": [{"from": "human", "value": "?"}]}, {"prompt": "?"}):
        with pytest.raises(DataError, match=f"data.jsonl:1: {name}: is preference data"):
            read_one(tmp_path, {**row, name: {}})
    for label in (True, False):
        with pytest.raises(DataError, match="label: is preference data"):
            read_one(tmp_path, {"messages": [USER, DONE], "label": label})


def test_cases_know_the_same_names(tmp_path: Path) -> None:
    row = {
        "id": "c",
        "functions": [{"name": "lookup", "inputSchema": LOOKUP["parameters"]}],
        "messages": [USER],
        "gold": [[{"name": "lookup", "args": {"word": "dog"}, "wild": ["word"]}]],
        "gold_kind": "parallel",
    }
    (case,) = read_cases(lines(tmp_path / "cases.jsonl", row))
    assert case.gold == ((Call("lookup", {"word": "dog"}, ("word",)),),)
    assert case.tools[0].required == ("word",)
    with pytest.raises(DataError, match=r"cases\.jsonl:1: gold: unknown field"):
        list(read_trajectories(lines(tmp_path / "cases.jsonl", row)))


def test_a_result_of_no_call_is_counted_with_what_stands_before_it(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "data.jsonl",
        {"messages": [USER, {"role": "assistant", "content": "@lookup dog"}, {"role": "tool", "content": "x"}]},
    )
    notes = Notes()
    list(read_trajectories(path, notes=notes))
    assert (notes.remarks, notes.examples) == ({OF_NO_CALL: 1}, {OF_NO_CALL: {"@lookup dog": None}})


def test_several_results_of_one_call_are_kept_and_counted(tmp_path: Path) -> None:
    again = {"role": "tool", "tool_call_id": "c1", "content": "a friend"}
    other = {**CALL, "id": "c2"}
    notes = Notes()
    rows = (
        {"messages": [USER, turn(CALL), RESULT, again, DONE]},
        {"messages": [USER, turn(CALL), RESULT, DONE, USER, again]},  # late
        {"messages": [USER, {**turn(CALL), "tool_calls": [CALL, other]}, RESULT, {**RESULT, "tool_call_id": "c2"}]},
        {"messages": [USER, {**turn(CALL), "tool_calls": [CALL, CALL]}, RESULT, RESULT]},
    )
    found = list(read_trajectories(lines(tmp_path / "data.jsonl", *rows), notes=notes))
    assert [[m.content for m in row.messages if m.role == "tool"] for row in found[:2]] == [["a pet", "a friend"]] * 2
    assert notes.remarks[SEVERAL] == 2
    assert notes.examples[SEVERAL] == {"lookup": None}


@pytest.mark.parametrize("value", [[1], {"a": 1}, True])
def test_the_id_of_a_row_is_text_or_a_number(tmp_path: Path, value: Any) -> None:
    for row in ({"messages": [USER, DONE]}, {"contents": [{"role": "user", "parts": [{"text": "Go."}]}]}):
        with pytest.raises(DataError, match=r"data\.jsonl:1: id: must be text or a number, not"):
            read_one(tmp_path, {"id": value, **row})
        assert [read_one(tmp_path, {"id": name, **row}).id for name in (7, "")] == ["7", "data:1"]


def test_rows_of_button(tmp_path: Path) -> None:
    calls = json.dumps([{"name": "lookup", "arguments": {"word": word}} for word in ("dog", "cat")])
    results = json.dumps([{"name": "lookup", "results": result} for result in ({"error": "no such word"}, {"is": 1})])
    messages = [
        {"role": "system", "content": f"Use these:\n<tool>\n{json.dumps([LOOKUP])}\n</tool>"},
        USER,
        {"role": "assistant", "content": f"I look.\n<call>{calls}</call>"},
        {"role": "tool", "content": results},
        DONE,
    ]
    found = read_one(tmp_path, {"messages": messages})
    assert [tool.name for tool in found.tools] == ["lookup"]
    assert found.messages[2:4] == (
        Message("assistant", "I look.", (Call("lookup", {"word": "dog"}), Call("lookup", {"word": "cat"}))),
        Message("tool", '{"error": "no such word"}', name="lookup"),
    )
    assert [block.message for block in blocked_turns(found)] == [2]


def test_words_in_tags_that_button_has_for_calls(tmp_path: Path) -> None:
    assert said(tmp_path, {"role": "assistant", "content": "<call>John</call>"})[0].content == "<call>John</call>"
