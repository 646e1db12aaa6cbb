"""OpenAI's Responses API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.message_fields import ENCRYPTED
from tl_jax.tooluse.schema import Call, Message, Tool

ROW: dict[str, Any] = {
    "model": "gpt",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "strict": True, **LOOKUP}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "What is a dog?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Look it up."}]},
        {
            "type": "message",
            "id": "m_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "lookup", "arguments": '{"word": "dog"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "a pet"},
    ],
    "output": [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A pet."}]},
    ],
}
EXAMPLES = [ROW]


def test_items(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert found.messages == (Message("system", "Be brief."), *conversation("Look it up."))
    assert found.messages[2].tool_calls[0].id == "c1"
    assert found.tools == (Tool.from_json({**LOOKUP, "strict": True}),)
    assert read_one(tmp_path, {"input": "Hi", "output": ROW["output"]}).messages[0] == Message("user", "Hi")


def test_calls_at_once_are_one_turn_whose_results_come_in_any_order(tmp_path: Path) -> None:
    calls = [{"type": "function_call", "call_id": n, "name": "f", "arguments": f'{{"n": "{n}"}}'} for n in "ab"]
    results = [
        {"type": "function_call_output", "call_id": n, "output": [{"type": "input_text", "text": n}]} for n in "ba"
    ]
    found = read_one(tmp_path, {"input": [{"role": "user", "content": "Go."}, *calls, *results]})
    assert found.messages[1:] == (
        Message("assistant", "", (Call("f", {"n": "a"}), Call("f", {"n": "b"}))),
        Message("tool", "a", name="f", call_id="a"),
        Message("tool", "b", name="f", call_id="b"),
    )


def test_thoughts_nobody_can_read_and_refusals(tmp_path: Path) -> None:
    row = changed(ROW, "input.1", {"type": "reasoning", "summary": [], "encrypted_content": "x"})
    row = changed(row, "output.0.content.0", {"type": "refusal", "refusal": "No."})
    notes = Notes()
    with notes.kept():
        found = read_one(tmp_path, row)
    assert (found.messages[2].reasoning, found.messages[4]) == (None, Message("assistant", refusal="No."))
    (of_the_file,) = notes.files.values()
    assert of_the_file.remarks == {ENCRYPTED: 1}


def test_items_that_stand_under_messages(tmp_path: Path) -> None:
    row = {"tools": ROW["tools"], "messages": [*ROW["input"], *ROW["output"]]}
    assert read_one(tmp_path, row).messages == conversation("Look it up.")


def test_tools_that_take_a_text(tmp_path: Path) -> None:
    call = {"type": "custom_tool_call", "id": "x", "call_id": "c1", "name": "run", "input": "print(1)"}
    result = {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"}
    tool = {"type": "custom", "name": "run", "description": "Runs code.", "format": {"type": "text"}}
    found = read_one(tmp_path, {"tools": [tool], "input": [{"role": "user", "content": "Go."}, call, result]})
    assert found.messages[1].tool_calls == (Call("run", {"input": "print(1)"}),)
    assert found.messages[2] == Message("tool", "1", name="run", call_id="c1")
    assert (found.tools[0].required, found.tools[0].extra) == (("input",), {"x-format": {"type": "text"}})


def test_what_mcp_servers_offer_and_say(tmp_path: Path) -> None:
    listed = {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": [LOOKUP]}
    call = {"type": "mcp_call", "id": "m", "server_label": "s", "name": "lookup", "arguments": '{"word": "dog"}'}
    for said, error in (({"output": "a pet"}, False), ({"output": None, "error": "a pet"}, True)):
        items = [listed, {"role": "user", "content": "What is a dog?"}, call | said]
        found = read_one(tmp_path, {"input": items, "output": ROW["output"]})
        result = Message("tool", "a pet", name="lookup", call_id="m", error=error)
        assert found.messages[1:3] == (Message("assistant", "", (Call("lookup", {"word": "dog"}),)), result)
        assert found.tools == (Tool.from_json(LOOKUP),)
    assert read_one(tmp_path, {"tools": [LOOKUP], "input": [listed, *items]}).tools == found.tools
    refused(tmp_path, {"tools": [{"name": "lookup"}], "input": items}, r"input\[0\].tools: 'lookup' is another tool")


def test_items_of_tools_that_the_vendor_runs_are_dropped_and_counted(tmp_path: Path) -> None:
    row = changed(ROW, "input.1", {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}})
    notes = Notes("drop")
    with notes.kept():
        assert len(read_one(tmp_path, row).messages) == 5
    assert [file.dropped for file in notes.files.values()] == [{"input[]": 1}]


def test_instructions_as_items_and_an_answer_as_text(tmp_path: Path) -> None:
    question, answer = {"role": "user", "content": "What is a dog?"}, "A pet."
    expected = (Message("system", "Be brief."), *(conversation()[i] for i in (0, 3)))
    items = {"instructions": [{"role": "developer", "content": "Be brief."}], "input": [question]}
    assert read_one(tmp_path, {**items, "output": ROW["output"]}).messages == expected
    nemotron = {"input": [question], "output": answer, "system_prompt": "Be brief.", "reasoning": "off"}
    assert read_one(tmp_path, {**nemotron, "used_in_training": "yes"}).messages == expected


@pytest.mark.parametrize("output", [True, 0, 1.5, [], [1, 2], [{"name": "dog"}], {"type": "text"}])
def test_a_result_may_be_any_value(tmp_path: Path, output: Any) -> None:
    items = [{"role": "user", "content": "Go."}, {"type": "function_call", "call_id": "1", "name": "f"}]
    row = {"input": [*items, {"type": "function_call_output", "call_id": "1", "output": output}]}
    assert read_one(tmp_path, row).messages[2].content == ("" if output == [] else json.dumps(output))


def test_a_result_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    items = [{"role": "user", "content": "Go."}, {"type": "function_call", "call_id": "1", "name": "f"}]
    items.append({"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image"}]})
    refused(tmp_path, {"input": items}, r".*input\[2\].output\[0\]: a part of type 'input_image'")


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, changed(ROW, "input.1.type", "web_search_call"), r"input\[1\]: an item of type 'web_search_call'")
    refused(
        tmp_path, changed(ROW, "input.0.content.0.type", "input_image"), r"input\[0\]\.content\[0\]: .*'input_image'"
    )
    refused(tmp_path, changed(ROW, "input.4.call_id", "z"), r"input\[4\]\.call_id: 'z' is the id of no earlier call")
    refused(tmp_path, changed(ROW, "tools.0", {"type": "web_search"}), r"tools\[0\]: is a tool that its vendor")
    refused(tmp_path, changed(ROW, "input.1.type", "compaction"), r"input\[1\]: an item of type 'compaction' cannot")


@pytest.mark.parametrize("role", ["developer", "system"])
@pytest.mark.parametrize(
    ("instructions", "said", "system"),
    [("Be brief.", "Be kind.", "Be brief.\n\nBe kind."), ("Be brief.", "Be brief.", "Be brief."), ("", "Hi.", "Hi.")],
)
def test_instructions_beside_a_system_message(
    tmp_path: Path, role: str, instructions: str, said: str, system: str
) -> None:
    row = {**ROW, "instructions": instructions, "input": [{"role": role, "content": said}, *ROW["input"]]}
    assert read_one(tmp_path, row).messages == (Message("system", system), *conversation("Look it up."))
