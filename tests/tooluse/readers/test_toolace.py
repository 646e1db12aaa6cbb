"""ToolACE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import changed, read_one, refused, turns
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import toolace
from tl_jax.tooluse.schema import Call, Message, Tool

SCHEMA = {"type": "dict", "properties": {"kind": {"type": "string"}, "days": {"type": "int"}}, "required": ["kind"]}
TIDES = {"name": "Tide Table API", "description": "Tides.", "parameters": SCHEMA, "required": None}
PROMPT = (
    f"You are a set of possible functions' expert. Speak of boats.\nHere is a list of functions in JSON format:\n"
    f"{json.dumps([TIDES, {'name': 'f', 'parameters': {}}])}. \nPut it in the format of [func1(a=b), func2(c)]\n"
)
ROW: dict[str, Any] = {
    "system": PROMPT,
    "conversations": turns(
        ("user", "High tides?"),
        ("assistant", '[Tide Table API(kind="high (all)", days=[1, 2]), f()]'),
        ("tool", '[{"name": "Tide Table API", "results": {"tides": []}}, {"name": "f", "results": "x"}]'),
        ("assistant", "None."),
    ),
}
EXAMPLES = [ROW]


def test_a_conversation(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert [tool.name for tool in found.tools] == ["Tide Table API", "f"]
    assert found.tools[0].parameters["type"] == "object"
    assert found.messages == (
        Message("system", "Speak of boats."),
        Message("user", "High tides?"),
        Message("assistant", "", (Call("Tide Table API", {"kind": "high (all)", "days": [1, 2]}), Call("f"))),
        Message("tool", '{"tides": []}', name="Tide Table API"),
        Message("tool", "x", name="f"),
        Message("assistant", "None."),
    )


def test_text_that_is_no_call_stays_text_and_is_counted(tmp_path: Path) -> None:
    for text in ("[f(a=1) and (b)]", "[f(a=1) or so]", "[f(a=1), g(b=)]", "see f(a=1)", "See [1] (and more)."):
        notes = Notes()
        with notes.kept():
            found = read_one(tmp_path, changed(ROW, "conversations.1.value", text))
        assert found.messages[2] == Message("assistant", text)
        (of_the_file,) = notes.files.values()
        told = [remark for remark in of_the_file.remarks if "looks like a call" in remark]
        assert len(told) == (text != "See [1] (and more).")


def test_calls_in_another_syntax(tmp_path: Path) -> None:
    text = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    assert read_one(tmp_path, changed(ROW, "conversations.1.value", text)).messages[2].tool_calls == (
        Call("f", {"a": 1}),
    )


def test_results_of_tools_nobody_called_stay_as_they_are(tmp_path: Path) -> None:
    for text in ('[{"name": "g", "results": 1}]', '[{"name": "f", "results": 1, "more": 2}]', "[]", "gone"):
        assert read_one(tmp_path, changed(ROW, "conversations.2.value", text)).messages[3].content == text


def test_results_in_the_users_words(tmp_path: Path) -> None:
    tags = "<tool_response>\n10\n</tool_response>\n<tool_response>\n11\n</tool_response>"
    found = read_one(tmp_path, changed(ROW, "conversations.2", {"from": "user", "value": tags}))
    assert found.messages[3:5] == (Message("tool", "10", name="Tide Table API"), Message("tool", "11", name="f"))
    react = {"from": "assistant", "value": 'Action: Tide Table API\nAction Input: {"kind": "high"}'}
    row = changed(ROW, "conversations.1", react)
    found = read_one(tmp_path, changed(row, "conversations.2", {"from": "user", "value": "Observation: none"}))
    assert found.messages[2:4] == (
        Message("assistant", "", (Call("Tide Table API", {"kind": "high"}),)),
        Message("tool", "none", name="Tide Table API"),
    )


def test_positional_arguments_and_linear_time(tmp_path: Path) -> None:
    tool = Tool.from_json({**TIDES, "parameters": {"properties": {"kind": {"type": "string"}}}})
    assert toolace.pythonic('[Tide Table API("high")]', [tool]) == [Call("Tide Table API", {"kind": "high"})]
    assert toolace.pythonic("[" + "f(" * 50_000 + "]", []) == []


def test_bad_rows(tmp_path: Path) -> None:
    refused(
        tmp_path, changed(ROW, "conversations.0.from", "alien"), r"conversations\[0\]\.from: unknown speaker 'alien'"
    )
    refused(tmp_path, changed(ROW, "conversations.0.foo", 1), r"conversations\[0\]\.foo: unknown field")
    refused(tmp_path, {**ROW, "foo": 1}, "foo: unknown field")
