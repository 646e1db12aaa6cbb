"""Tools in all the shapes in which files list them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import CALL, DONE, USER, turn
from tests.tooluse.readers.helpers import LOOKUP, read_one
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.same_name import SAME_NAME
from tl_jax.tooluse.schema import Call, DataError, Message, Tool


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


@pytest.mark.parametrize("form", [{"format": {"type": "text"}}, {}, {"format": None}])
@pytest.mark.parametrize("wrapped", [True, False])
def test_tools_that_take_a_text(tmp_path: Path, form: dict[str, Any], wrapped: bool) -> None:
    custom = {"name": "run", "description": "Runs code.", **form}
    tool = {"type": "custom", **({"custom": custom} if wrapped else custom)}
    call = {"id": "1", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}
    found = read_one(tmp_path, {"tools": [tool], "messages": [USER, turn(call)]})
    assert found.messages[1].tool_calls == (Call("run", {"input": "print(1)"}),)
    (offered,) = found.tools
    assert (offered.name, offered.description, offered.required) == ("run", "Runs code.", ("input",))


def test_tools_of_custom_type_with_a_schema_are_anthropics(tmp_path: Path) -> None:
    tool = {"type": "custom", "name": "lookup", "description": "Does lookup.", "input_schema": LOOKUP["parameters"]}
    assert read_one(tmp_path, {"tools": [tool], "messages": [USER, DONE]}).tools == (Tool.from_json(LOOKUP),)


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


def test_tools_of_one_name_are_all_shown_and_told(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "tools": [LOOKUP, {**LOOKUP, "description": "Another."}, {"name": "f"}]}
    notes = Notes()
    with notes.kept():
        assert len(read_one(tmp_path, row).tools) == 3
    (told,) = notes.files.values()
    assert (told.remarks, told.examples) == ({SAME_NAME: 1}, {SAME_NAME: {"lookup": None}})


def test_of_tools_of_one_name_the_first_says_which_nulls_were_meant(tmp_path: Path) -> None:
    nullable = {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]}
    plain = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for schemas, given in (((nullable, plain), {"a": None}), ((plain, nullable), {})):
        offered = [{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}} for schema in schemas]
        use = {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": None}}}
        turns = [{"role": "user", "content": [{"text": "?"}]}, {"role": "assistant", "content": [use]}]
        found = read_one(tmp_path, {"messages": turns, "toolConfig": {"tools": offered}})
        assert found.messages[1].tool_calls == (Call("f", given),)


def test_tools_of_one_name_are_told_of_readers_that_make_them_themselves(tmp_path: Path) -> None:
    tool = {"name": "f", "description": "", "parameters": {}}
    row = {"query": "?", "tools": [tool, tool], "answers": [{"name": "f", "arguments": {}}]}
    notes = Notes()
    with notes.kept():
        assert len(read_one(tmp_path, row).tools) == 2
    assert [file.remarks for file in notes.files.values()] == [{SAME_NAME: 1}]


def test_half_a_character_in_a_schema_that_is_text_is_named(tmp_path: Path) -> None:
    tool = {"name": "f", "parameters": r'{"type": "object", "description": "\ud800"}'}
    with pytest.raises(DataError, match=r"tools\[0\]\.parameters: is not JSON: half of a surrogate pair"):
        read_one(tmp_path, {"messages": [USER, DONE], "tools": [tool]})


SCHEMA = LOOKUP["parameters"]
UNNAMED = {key: item for key, item in LOOKUP.items() if key != "name"}
GOOGLES = {"name": "lookup", "description": "Does lookup.", "parametersJsonSchema": SCHEMA}
AMAZONS = {"name": "lookup", "description": "Does lookup.", "inputSchema": {"json": SCHEMA}}


@pytest.mark.parametrize(
    "tools",
    [
        {"lookup": LOOKUP},
        {"lookup": UNNAMED, "other": None},
        {"lookup": {"type": "function", "function": UNNAMED}},
        {"lookup": {"description": "Does lookup.", "inputSchema": {"jsonSchema": SCHEMA}}},
        {"functions": [LOOKUP]},
        {"tools": [LOOKUP]},
        {"type": "function", "function": LOOKUP},
        {"functionDeclarations": [GOOGLES]},
        [{"function_declarations": GOOGLES}],
        [{"toolSpec": AMAZONS}],
        {"toolSpec": AMAZONS},
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_tools_by_name_and_in_the_shapes_of_other_apis(tmp_path: Path, tools: Any, as_text: bool) -> None:
    row = {"id": "1", "messages": [USER, turn(CALL)], "tools": json.dumps(tools) if as_text else tools}
    assert read_one(tmp_path, row).tools == (Tool.from_json(LOOKUP),)


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        (
            {"lookup": {"name": "other"} | UNNAMED},
            r"tools\.lookup\.name: says something else than 'lookup', under which",
        ),
        ({"lookup": SCHEMA}, "tools: is no tool: it has 'lookup'"),
        ([{"a": 1, "b": 2}], r"tools\[0\]: is no tool: it has 'a', 'b'"),
        ([{}], r"tools\[0\]: is no tool: it has nothing"),
        ({"parameters": SCHEMA}, "tools.name: is missing"),
        ({"functionDeclarations": [{"description": "Does."}]}, r"tools\.functionDeclarations\[0\]\.name: is missing"),
        ([{"googleSearch": {}}], r"tools\[0\]\.googleSearch: is a tool that its vendor runs itself"),
    ],
)
def test_what_is_no_tool_is_named(tmp_path: Path, tools: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_one(tmp_path, {"messages": [USER, DONE], "tools": tools})


def test_tools_under_two_names_in_two_shapes(tmp_path: Path) -> None:
    row = {"messages": [USER, DONE], "tools": [{"type": "function", "function": LOOKUP}], "functions": [LOOKUP]}
    assert read_one(tmp_path, row).tools == (Tool.from_json(LOOKUP),)
    with pytest.raises(DataError, match="functions: other tools are offered elsewhere in the row"):
        read_one(tmp_path, {**row, "functions": [{"name": "f"}]})
