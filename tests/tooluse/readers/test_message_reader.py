"""Calls, and whole messages, in the shapes of chat APIs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import CALL, DONE, RESULT, USER, said, turn
from tests.tooluse.readers.helpers import LOOKUP, read_one, tool
from tl_jax.tooluse.schema import Call, DataError, Message


@pytest.mark.parametrize("name", ["arguments", "args", "parameters", "input"])
@pytest.mark.parametrize("as_text", [False, True])
def test_every_name_of_arguments(tmp_path: Path, name: str, as_text: bool) -> None:
    given: Any = json.dumps({"word": "dog"}) if as_text else {"word": "dog"}
    for call in (
        {"name": "lookup", name: given},
        {"id": "1", "type": "tool_call", "name": "lookup", name: given},
        {"id": "1", "type": "function", "function": {"name": "lookup", name: given}, "index": 0},
    ):
        (message,) = said(tmp_path, turn(call))
        assert message.tool_calls == (Call("lookup", {"word": "dog"}),)
    (older,) = said(tmp_path, {"role": "assistant", "function_call": {"name": "lookup", name: given}})
    assert older.tool_calls == (Call("lookup", {"word": "dog"}),)


def test_two_names_that_differ(tmp_path: Path) -> None:
    call = {"name": "lookup", "arguments": {"word": "dog"}, "args": {"word": "cat"}}
    with pytest.raises(DataError, match=r"tool_calls\[0\]\.args: says something else than 'arguments'"):
        said(tmp_path, turn(call))
    (message,) = said(tmp_path, turn({**call, "args": {"word": "dog"}}))
    assert message.tool_calls == (Call("lookup", {"word": "dog"}),)
    with pytest.raises(DataError, match=r"messages\[1\]\.function_call: stands beside tool_calls"):
        said(tmp_path, {**turn({"name": "f"}), "function_call": {"name": "f"}})


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "tool_calls": [], "function_calls": 'lookup(word="dog")'},
        {"role": "Assistant", "function_call": CALL["function"], "extra": {"function_id": "c1"}},
        {"role": "tool-call", "content": "lookup(word='dog')"},
        {
            "role": "assistant",
            "tool_calls": [{**CALL, "function": {"name": "lookup", "arguments": '"{\\"word\\": \\"dog\\"}"'}}],
        },
    ],
    ids=str,
)
def test_calls_in_shapes_of_their_own(tmp_path: Path, message: dict[str, Any]) -> None:
    found, result = said(tmp_path, message, {"role": "environment", "content": "a pet"}, tools=[LOOKUP])
    assert found == Message("assistant", "", (Call("lookup", {"word": "dog"}),))
    assert result == Message("tool", "a pet", name=result.name)


def test_calls_as_text_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]\.function_calls: cannot be read as calls: "):
        said(tmp_path, {"role": "assistant", "function_calls": "lookup(word="})
    with pytest.raises(DataError, match=r"messages\[1\]\.tool_calls: must be a list, not dict"):
        said(tmp_path, {"role": "assistant", "tool_calls": CALL})
    with pytest.raises(DataError, match=r"messages\[1\]\.function_calls: stands beside tool_calls"):
        said(tmp_path, {"role": "assistant", "tool_calls": [CALL], "function_calls": "lookup(word='dog')"})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('{"word": "dog" "limit": 2}', """Expecting ',' delimiter after '{"word": "dog" ', before '"limit": 2}'"""),
        ('{"word": "dog"', """Expecting ',' delimiter after '{"word": "dog"', where it ends"""),
        ("{'word': 'dog'}", "Expecting property name enclosed in double quotes after '{', before"),
        ('{"word":\n "a\tb"}', "Invalid control character after"),
        ('{"word": 1, "word": 2}', "an object gives 'word' twice"),
        ('{"limit": 1e999}', "a number is too large: 1e999"),
    ],
)
def test_arguments_that_are_no_json_show_where_they_break(tmp_path: Path, value: str, problem: str) -> None:
    call = {"function": {"name": "lookup", "arguments": value}}
    with pytest.raises(DataError) as error:
        said(tmp_path, turn(call))
    assert ":1: messages[1].tool_calls[0].function.arguments: is not JSON: " + problem in str(error.value)
    assert "each line" not in str(error.value)


@pytest.mark.parametrize("value", ["0", "false", "[]", '""', "null", " "])
def test_arguments_that_are_no_object(tmp_path: Path, value: str) -> None:
    call = {"name": "lookup", "arguments": value}
    if value in ("0", "false", "[]"):
        with pytest.raises(DataError, match=r"arguments: must be a JSON object"):
            said(tmp_path, turn(call))
    else:
        assert said(tmp_path, turn(call))[0].tool_calls == (Call("lookup"),)


@pytest.mark.parametrize("value", ["null", " ", "[]", None])
def test_no_calls(tmp_path: Path, value: str | None) -> None:
    assert said(tmp_path, {**DONE, "tool_calls": value}) == (Message("assistant", "Done."),)


def test_an_object_in_brackets_is_the_arguments_of_the_first_tool_of_that_name(tmp_path: Path) -> None:
    tools = [tool("lookup", "word", word="string"), tool("lookup", "a", a="object")]
    (found,) = said(tmp_path, {"role": "assistant", "function_calls": "lookup({'word': 'x'})"}, tools=tools)
    assert found.tool_calls == (Call("lookup", {"word": "x"}),)


def test_what_smolagents_writes_around_calls_and_results(tmp_path: Path) -> None:
    calls = "Calling tools:\n[{'id': '1', 'type': 'function', 'function': {'name': 'f', 'arguments': {}}}]"
    messages = [{"role": "tool-call", "content": calls}, {"role": "tool-response", "content": "Observation:\na pet"}]
    row = {"tools": [{"name": "f"}], "messages": [USER, *messages]}
    assert read_one(tmp_path, row).messages[1:] == (
        Message("assistant", "", (Call("f", {}),)),
        Message("tool", "a pet", name="f"),
    )


def test_a_result_that_is_nested_too_deeply_is_one_error(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(700):
        deep = {"a": deep}
    with pytest.raises(DataError, match=r"data\.jsonl:1: is nested too deeply"):
        said(tmp_path, turn(CALL), {**RESULT, "name": None, "content": deep})
