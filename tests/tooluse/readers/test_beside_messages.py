"""What rows have beside messages and tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tooluse.readers.chat import CALL, DONE, USER, turn
from tests.tooluse.readers.helpers import LOOKUP, lines, read_one
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool


def test_logs_of_requests(tmp_path: Path) -> None:
    answer = {"index": 0, "message": turn(CALL), "finish_reason": "tool_calls"}
    row = {"messages": [USER], "tools": [LOOKUP], "stream": True, "reasoning_effort": "low", "choices": [answer]}
    found = read_one(tmp_path, row)
    assert found.messages[1:] == (Message("assistant", "", (Call("lookup", {"word": "dog"}),)),)
    assert found.meta == {"stream": True, "reasoning_effort": "low"}
    with pytest.raises(DataError, match=r"choices: the messages end with an answer already"):
        read_one(tmp_path, {**row, "messages": [USER, DONE]})
    with pytest.raises(DataError, match=r"choices\[0\]\.message\.contents: unknown field"):
        read_one(tmp_path, {**row, "choices": [{"message": {"role": "assistant", "contents": "x"}}]})
    with pytest.raises(DataError, match=r"choices: holds 2 answers"):
        read_one(tmp_path, {**row, "choices": [answer, answer]})
    with pytest.raises(DataError, match=r"choices: is no list of an API's answers"):
        read_one(tmp_path, {**row, "choices": ["A", "B"]})
    notes = Notes("drop")
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", {**row, "choices": ["A", "B"]}), notes=notes)
    assert (len(found.messages), notes.dropped) == (1, {"choices": 1})


def test_tools_that_a_row_hands_to_its_template_or_only_notes(tmp_path: Path) -> None:
    given = {"xml_tools": [json.dumps(LOOKUP)], "python_tools": [], "custom_instructions": "Be brief."}
    found = read_one(tmp_path, {"messages": [USER, DONE], "chat_template_kwargs": {**given, "enable_thinking": False}})
    assert (found.tools, found.messages[0]) == ((Tool.from_json(LOOKUP),), Message("system", "Be brief."))
    with pytest.raises(DataError, match=r"chat_template_kwargs\.python_tools: are code"):
        read_one(tmp_path, {"messages": [USER, DONE], "chat_template_kwargs": {"python_tools": ["def f(): ..."]}})
    with pytest.raises(DataError, match=r"chat_template_kwargs\.custom_instructions: is a system text, and the row"):
        read_one(tmp_path, {"messages": [USER, DONE], "system": "Be kind.", "chat_template_kwargs": given})
    for noted in ({"tools": ["lookup"]}, {"tools": [{"name": "lookup", "made": 3}]}, '{"tools": '):
        assert read_one(tmp_path, {"messages": [USER, DONE], "metadata": noted}).tools == ()
    for noted in ({"tools": [LOOKUP]}, json.dumps({"tools": [LOOKUP]})):
        assert read_one(tmp_path, {"messages": [USER, DONE], "metadata": noted}).tools == (Tool.from_json(LOOKUP),)
