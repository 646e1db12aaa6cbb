"""Messages under all the names and in all the shapes that are in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, lines, read_one, tool
from tl_jax.tooluse.fields import Notes
from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.readers.messages import OF_NO_CALL
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

USER, DONE = {"role": "user", "content": "Go."}, {"role": "assistant", "content": "Done."}


def said(tmp_path: Path, *messages: dict[str, Any], **row: Any) -> tuple[Message, ...]:
    """The messages that are read after the user's."""
    return read_one(tmp_path, {"messages": [USER, *messages], **row}).messages[1:]


def turn(call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call]}


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
    ("fields", "weight"),
    [
        ({"weight": 0}, 0.0),
        ({"weight": 0.5}, 0.5),
        ({"loss_weight": 0.0}, 0.0),
        ({"loss": False}, 0.0),
        ({"loss": True}, 1.0),
        ({"loss": 0.25}, 0.25),
        ({"train": False}, 0.0),
        ({"training": True}, 1.0),
        ({"mask": True}, 0.0),
        ({"masked": False}, 1.0),
        ({"mask": True, "loss": False, "weight": 0}, 0.0),
        ({}, None),
        ({"loss": None}, None),
    ],
)
def test_every_name_of_a_weight(tmp_path: Path, fields: dict[str, Any], weight: float | None) -> None:
    assert [message.weight for message in said(tmp_path, DONE | fields)] == [weight]


def test_weights_that_are_none(tmp_path: Path) -> None:
    for fields, problem in (
        ({"loss": False, "weight": 1}, "weight: says something else than 'loss'"),
        ({"mask": 1}, r"mask: must be true \(no target\) or false; write numbers as weight"),
        ({"loss": "no"}, "loss: must be a finite number"),
        ({"train": -1}, "train: must be a finite number >= 0"),
    ):
        with pytest.raises(DataError, match=rf"messages\[1\]\.{problem}"):
            said(tmp_path, DONE | fields)
    assert said(tmp_path, {"role": "user", "content": "?", "train": False}, DONE)[0].weight is None
    with pytest.raises(DataError, match=r"messages\[1\]: only an assistant message has tool_calls or weight"):
        said(tmp_path, {"role": "user", "content": "?", "train": True}, DONE)


@pytest.mark.parametrize("name", ["tools", "functions", "tool_defs", "available_tools"])
def test_every_name_of_tools(tmp_path: Path, name: str) -> None:
    wrapped = {"type": "function", "function": LOOKUP}
    for tools in ([LOOKUP], [wrapped], json.dumps([wrapped]), [json.dumps(LOOKUP)], LOOKUP):
        assert read_one(tmp_path, {"messages": [USER, DONE], name: tools}).tools == (Tool.from_json(LOOKUP),)
        inside = {"role": "system", "content": "Be brief.", name: tools}
        found = read_one(tmp_path, {"messages": [inside, USER, DONE]})
        assert (found.tools, found.messages[0]) == ((Tool.from_json(LOOKUP),), Message("system", "Be brief."))
    with pytest.raises(DataError, match=rf"messages\[0\]\.{name}: other tools are offered elsewhere in the row"):
        read_one(tmp_path, {"messages": [inside, USER], "tools": [{"name": "other"}]})


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


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"is_error": True}, True),
        ({"isError": True}, True),
        ({"error": True}, True),
        ({"status": "error"}, True),
        ({"status": "success"}, False),
        ({"error": False, "is_error": False}, False),
        ({"error": None}, False),
        ({"error": ""}, False),
    ],
)
def test_every_name_of_a_failed_call(tmp_path: Path, fields: dict[str, Any], error: bool) -> None:
    result = {"role": "tool", "content": "10"}
    assert said(tmp_path, turn({"name": "f"}), result | fields)[1] == Message("tool", "10", error=error)


def test_an_error_that_is_text(tmp_path: Path) -> None:
    calling = turn({"name": "f"})
    assert said(tmp_path, calling, {"role": "tool", "content": "", "error": "no net"})[1] == Message(
        "tool", "no net", error=True
    )
    for fields, problem in (
        ({"error": 3}, "error: must be true, false or text"),
        ({"status": "odd"}, "status: must be"),
    ):
        with pytest.raises(DataError, match=rf"messages\[2\]\.{problem}"):
            said(tmp_path, calling, {"role": "tool", "content": "", **fields})
    with pytest.raises(DataError, match=r"messages\[1\]: only a tool message has call_id or error"):
        said(tmp_path, DONE | {"error": True})


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_thoughts_and_refusals_are_no_part_of_the_answer(tmp_path: Path, name: str) -> None:
    (message,) = said(tmp_path, DONE | {name: "Hm."})
    assert message == Message("assistant", "Done.", reasoning="Hm.")
    assert said(tmp_path, DONE | {name: ""}) == (Message("assistant", "Done."),)
    refused = Message("assistant", "", refusal="No.")
    assert said(tmp_path, {"role": "assistant", "content": None, "refusal": "No."}) == (refused,)
    part = {"type": "refusal", "refusal": "No."}
    assert said(tmp_path, {"role": "assistant", "content": [part]}) == (refused,)


def test_what_describes_a_row_is_kept(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "source": "here", "license": "mit", "metadata": {"n": 1}, "score": 3}
    assert read_one(tmp_path, row).meta == {"source": "here", "license": "mit", "score": 3, "n": 1}
    for name in ("context", "answer", "labels"):
        with pytest.raises(DataError, match=rf"data.jsonl:1: {name}: unknown field"):
            read_one(tmp_path, {**row, name: "x"})
    with pytest.raises(DataError, match=r"messages\[1\]\.source: unknown field"):
        said(tmp_path, DONE | {"source": "here"})


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


CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "a pet"}


@pytest.mark.parametrize(
    ("beside", "reasoning"),
    [
        ({"annotations": [], "audio": None, "refusal": None, "finish_reason": "tool_calls", "prefix": False}, None),
        ({"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "format": "x"}]}, "Hm."),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm.", "index": 0}]}, "Hm."),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, None),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]}, "Hm."),
        ({"content": None, "tool_plan": "Hm."}, "Hm."),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}]}, "Hm."),
        (
            {"content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "", "annotations": []}]},
            "Hm.",
        ),
    ],
    ids=str,
)
def test_what_apis_say_beside_an_answer(tmp_path: Path, beside: dict[str, Any], reasoning: str | None) -> None:
    message, result, _ = said(tmp_path, {**turn(CALL), **beside}, RESULT, DONE)
    assert message == Message("assistant", "", (Call("lookup", {"word": "dog"}),), reasoning=reasoning)
    assert result.call_id == "c1"


@pytest.mark.parametrize(
    "message",
    [
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "A"},
            ]
        },
        {
            "reasoning_content": "Hm.",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "A"}],
        },
    ],
)
def test_thoughts_as_parts_are_not_anthropics_alone(tmp_path: Path, message: dict[str, Any]) -> None:
    assert said(tmp_path, {"role": "assistant", **message}) == (Message("assistant", "A", reasoning="Hm."),)


def test_an_answer_that_was_spoken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]\.audio: only text can be read"):
        said(tmp_path, {**DONE, "audio": {"data": "x"}})


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
    ("content", "text"),
    [
        ({"is": "a pet"}, '{"is": "a pet"}'),
        ([{"is": "a pet"}, 1], '[{"is": "a pet"}, 1]'),
        ([{"type": "document", "document": {"data": "a pet"}}], "a pet"),
        ([{"type": "text", "text": "a pet"}], "a pet"),
    ],
)
def test_results_that_are_no_text(tmp_path: Path, content: Any, text: str) -> None:
    assert said(tmp_path, turn(CALL), {**RESULT, "content": content})[1].content == text
    if isinstance(content, dict):
        with pytest.raises(DataError, match=r"messages\[1\]\.content: must be text, not dict"):
            said(tmp_path, {"role": "assistant", "content": content})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (["Paris", "London"], '["Paris", "London"]'),
        ({"type": "error", "message": "x"}, '{"type": "error", "message": "x"}'),
        ({"text": "hello", "score": 1}, '{"text": "hello", "score": 1}'),
        ([{"type": "flight", "id": 1}], '[{"type": "flight", "id": 1}]'),
        ([{"a": 1}, "x"], '[{"a": 1}, "x"]'),
        ([{"type": "text", "text": "a"}, {"type": "flight"}], '[{"type": "text", "text": "a"}, {"type": "flight"}]'),
        ([], ""),
        ([{"text": "a"}, {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_results_that_look_like_parts(tmp_path: Path, content: Any, text: str) -> None:
    assert said(tmp_path, turn(CALL), {**RESULT, "content": content})[1].content == text


def test_pictures_in_results_are_refused(tmp_path: Path) -> None:
    for part in ({"type": "image_url", "image_url": {"url": "x"}}, {"type": "image", "source": {}}):
        with pytest.raises(DataError, match=r"messages\[2\]\.content\[0\]: only parts of text"):
            said(tmp_path, turn(CALL), {**RESULT, "content": [part]})


def test_a_result_that_is_nested_too_deeply_is_one_error(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(700):
        deep = {"a": deep}
    with pytest.raises(DataError, match=r"data\.jsonl:1: is nested too deeply"):
        said(tmp_path, turn(CALL), {**RESULT, "name": None, "content": deep})


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


def test_what_older_requests_and_ollamas_ask_for_is_kept(tmp_path: Path) -> None:
    asked = {"function_call": "auto", "options": {"num_ctx": 9}, "keep_alive": "5m", "think": True}
    assert read_one(tmp_path, {"messages": [USER, DONE], **asked}).meta == asked


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


def test_pictures_beside_messages(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "images": [], "videos": None, "audios": []}
    assert read_one(tmp_path, row).meta == {}
    with pytest.raises(DataError, match=r"images: holds pictures or sounds"):
        read_one(tmp_path, {**row, "images": ["a.png"]})


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


def test_a_result_of_no_call_is_counted_with_what_stands_before_it(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "data.jsonl",
        {"messages": [USER, {"role": "assistant", "content": "@lookup dog"}, {"role": "tool", "content": "x"}]},
    )
    notes = Notes()
    list(read_trajectories(path, notes=notes))
    assert (notes.remarks, notes.examples) == ({OF_NO_CALL: 1}, {OF_NO_CALL: {"@lookup dog": None}})


def test_tools_that_take_a_text(tmp_path: Path) -> None:
    custom = {"name": "run", "description": "Runs code.", "format": {"type": "text"}}
    call = {"id": "1", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}
    found = read_one(tmp_path, {"tools": [{"type": "custom", "custom": custom}], "messages": [USER, turn(call)]})
    assert found.messages[1].tool_calls == (Call("run", {"input": "print(1)"}),)
    (offered,) = found.tools
    assert (offered.name, offered.description, offered.required) == ("run", "Runs code.", ("input",))


def test_tools_of_vendors_and_of_other_apis(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE]}
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "f", "inputSchema": LOOKUP["parameters"]}]}}
    assert read_one(tmp_path, {**row, "tools": answer}).tools == (Tool("f", parameters=LOOKUP["parameters"]),)
    cohere = {"name": "f", "parameter_definitions": {"a": {"type": "int", "required": True}, "b": {"type": "str"}}}
    (found,) = read_one(tmp_path, {**row, "tools": [cohere]}).tools
    assert (found.required, [spec["type"] for spec in found.properties.values()]) == (("a",), ["integer", "string"])
    with pytest.raises(DataError, match=r"tools\[1\]: is a tool that its vendor runs itself.*\(web_search\)"):
        read_one(tmp_path, {**row, "tools": [LOOKUP, {"type": "web_search"}]})
    notes = Notes("drop")
    with notes.kept():
        assert len(read_one(tmp_path, {**row, "tools": [LOOKUP, {"type": "web_search"}]}).tools) == 1
    assert [file.dropped for file in notes.files.values()] == [{"tools[]": 1}]


@pytest.mark.parametrize(
    "result",
    [
        {"content": {"content": [{"type": "text", "text": "a pet", "_meta": {}}], "isError": True}},
        {"content": [{"type": "text", "text": "a pet"}], "isError": True, "structuredContent": {"is": "a pet"}},
    ],
)
def test_what_mcp_servers_answer_to_a_call(tmp_path: Path, result: dict[str, Any]) -> None:
    call, answer = turn({"id": "1", "name": "f"}), {"role": "tool", "tool_call_id": "1"}
    assert said(tmp_path, call, {**answer, **result})[1] == Message("tool", "a pet", name="f", call_id="1", error=True)
    only = {**answer, "content": [], "structuredContent": {"is": "a pet"}}
    assert said(tmp_path, call, only)[1].content == '{"is": "a pet"}'
    only = {**answer, "content": {"content": [], "structuredContent": {"is": "a pet"}}}
    assert said(tmp_path, call, only)[1].content == '{"is": "a pet"}'
    for other in ({"content": []}, {"content": [{"type": "file", "name": "a"}]}, {"content": [{"text": "a"}]}):
        assert said(tmp_path, call, {**answer, "content": other})[1].content == json.dumps(other)


def test_what_smolagents_writes_around_calls_and_results(tmp_path: Path) -> None:
    calls = "Calling tools:\n[{'id': '1', 'type': 'function', 'function': {'name': 'f', 'arguments': {}}}]"
    messages = [{"role": "tool-call", "content": calls}, {"role": "tool-response", "content": "Observation:\na pet"}]
    row = {"tools": [{"name": "f"}], "messages": [USER, *messages]}
    assert read_one(tmp_path, row).messages[1:] == (
        Message("assistant", "", (Call("f", {}),)),
        Message("tool", "a pet", name="f"),
    )


def test_where_a_text_comes_from_is_no_text(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "A "},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "pet"},
    ]
    assert said(tmp_path, {"role": "assistant", "content": parts}) == (Message("assistant", "A pet"),)


def test_ollamas_calls_and_mcps_list_of_tools(tmp_path: Path) -> None:
    call = turn({"function": {"name": "lookup", "arguments": {"word": "dog"}, "index": 0}})
    listed = {"tools": [{"name": "lookup", "inputSchema": LOOKUP["parameters"]}], "nextCursor": None}
    row = {"messages": [USER, call, {"role": "tool", "tool_name": "lookup", "content": "a pet"}], "tools": listed}
    found = read_one(tmp_path, row)
    assert [tool.name for tool in found.tools] == ["lookup"]
    assert found.messages[1:] == (
        Message("assistant", "", (Call("lookup", {"word": "dog"}),)),
        Message("tool", "a pet", name="lookup"),
    )
