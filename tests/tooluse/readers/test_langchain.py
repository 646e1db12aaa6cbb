"""LangChain's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.message_fields import ENCRYPTED
from tl_jax.tooluse.schema import Message, Tool

MESSAGES: list[dict[str, Any]] = [
    {"type": "human", "content": "What is a dog?", "additional_kwargs": {}, "response_metadata": {}, "id": "h1"},
    {
        "type": "ai",
        "content": "I look.",
        "tool_calls": [{"name": "lookup", "args": {"word": "dog"}, "id": "c1", "type": "tool_call"}],
        "invalid_tool_calls": [],
        "additional_kwargs": {"reasoning_content": "Look it up."},
        "usage_metadata": {"total_tokens": 9},
    },
    {"type": "tool", "content": "a pet", "tool_call_id": "c1", "status": "error", "artifact": {"raw": 1}},
    {"type": "ai", "content": [{"type": "text", "text": "A pet.", "index": 0}]},
]
CLASSES = {"human": "HumanMessage", "ai": "AIMessage", "tool": "ToolMessage"}


def dumped(message: dict[str, Any]) -> dict[str, Any]:
    path = ["langchain", "schema", "messages", CLASSES[message["type"]]]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": message}


PLAIN = {"tools": [LOOKUP], "messages": MESSAGES}
DICTS = {"tools": [LOOKUP], "messages": [{"type": item["type"], "data": item} for item in MESSAGES]}
DUMPED = {"tools": [LOOKUP], "messages": [dumped(item) for item in MESSAGES]}
EXAMPLES = [PLAIN, DICTS, DUMPED]


@pytest.mark.parametrize("row", EXAMPLES)
def test_three_shapes(tmp_path: Path, row: Any) -> None:
    found = read_one(tmp_path, row)
    assert found.messages == conversation("Look it up.", error=True)
    assert found.tools == (Tool.from_json(LOOKUP),)


def test_calls_that_stand_twice_are_one(tmp_path: Path) -> None:
    block = {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"word": "dog"}}
    row = changed(PLAIN, "messages.1.content", [{"type": "thinking", "thinking": "Hm."}, "I look.", block])
    openai = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}
    row = changed(row, "messages.1.additional_kwargs", {"tool_calls": [openai], "refusal": None})
    assert read_one(tmp_path, row).messages == conversation("Hm.", error=True)
    alone = changed(row, "messages.1.tool_calls", [])
    refused(tmp_path, changed(row, "messages.1.tool_calls.0.args", {}), r"messages\[1\].*says other calls")
    alone["messages"][1]["content"] = "I look."
    assert read_one(tmp_path, alone).messages == conversation(error=True)


def test_rows_by_role_are_read_as_openai_reads_them(tmp_path: Path) -> None:
    roles = {"human": "user", "ai": "assistant", "tool": "tool"}
    keys = ("content", "tool_calls", "tool_call_id", "status")
    messages = [{"role": roles[item["type"]], **{key: item[key] for key in keys if key in item}} for item in MESSAGES]
    found = read_one(tmp_path, {"messages": changed({"m": messages}, "m.3.content", "A pet.")["m"]})
    assert found.messages == conversation(error=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"is": "a pet"}, '{"is": "a pet"}'),
        ([{"title": "Dog"}], '[{"title": "Dog"}]'),
        ([{"type": "text", "text": "a pet"}], "a pet"),
        (["a", "pet"], "a\npet"),
        (["a", {"type": "text", "text": "pet"}], "a\npet"),
        (["a pet", {"title": "Dog"}], '["a pet", {"title": "Dog"}]'),
        ([1, "a pet"], '[1, "a pet"]'),
    ],
)
def test_results_that_are_no_text(tmp_path: Path, content: Any, text: str) -> None:
    assert read_one(tmp_path, changed(PLAIN, "messages.2.content", content)).messages[2].content == text


def test_what_mcp_servers_say_of_a_failure(tmp_path: Path) -> None:
    said = {"content": [{"type": "text", "text": "no"}], "isError": True}
    row = changed(changed(PLAIN, "messages.2.status", "success"), "messages.2.content", said)
    assert read_one(tmp_path, row).messages[2] == Message("tool", "no", name="lookup", call_id="c1", error=True)


def test_pairs_and_messages_of_any_role(tmp_path: Path) -> None:
    expected = tuple(conversation()[i] for i in (0, 3))
    pairs = [["human", "What is a dog?"], ["ai", "A pet."]]
    chat = [{"type": "human", "content": "What is a dog?"}, {"type": "chat", "role": "assistant", "content": "A pet."}]
    for messages in (pairs, chat):
        assert read_one(tmp_path, {"messages": messages, "remaining_steps": 24}).messages == expected


def test_calls_that_stand_in_the_content_alone(tmp_path: Path) -> None:
    blocks = [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"word": "dog"}},
    ]
    row = changed(PLAIN, "messages.1", {"type": "ai", "content": blocks, "tool_calls": []})
    assert read_one(tmp_path, row).messages == conversation(error=True)
    refused(tmp_path, changed(PLAIN, "messages.0.content", blocks), r".*content\[1\]: a block of type 'tool_use'")


def test_bad_rows(tmp_path: Path) -> None:
    invalid = [{"name": "lookup", "args": "{", "id": "c1", "error": "no JSON"}]
    refused(
        tmp_path, changed(PLAIN, "messages.1.invalid_tool_calls", invalid), r"messages\[1\]\.invalid_tool_calls\[0\]"
    )
    refused(
        tmp_path, changed(PLAIN, "messages.3.content.0", {"type": "image_url"}), r"messages\[3\]\.content\[0\]: a bl"
    )
    refused(tmp_path, changed(DICTS, "messages.0.data.foo", 1), r"messages\[0\]\.data\.foo: unknown field")
    refused(tmp_path, changed(DUMPED, "messages.2.kwargs.tool_call_id", "z"), r"messages\[2\].*'z' is the id of no")
    refused(tmp_path, changed(PLAIN, "messages.0.type", "alien"), r"messages\[0\].*unknown type 'alien'", "langchain")


def test_a_tool_message_without_an_id_follows_by_position(tmp_path: Path) -> None:
    row = changed(PLAIN, "messages.2", {"type": "function", "name": "lookup", "content": "a pet"})
    assert read_one(tmp_path, row).messages[2] == Message("tool", "a pet", name="lookup")


def test_what_openais_and_googles_apis_leave_in_a_message(tmp_path: Path) -> None:
    thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm.", "index": 0}]}
    block = {"type": "function_call", "call_id": "c1", "id": "fc", "name": "lookup", "arguments": '{"word": "dog"}'}
    row = changed(PLAIN, "messages.1.content", [thought, "I look.", block])
    row = changed(row, "messages.1.additional_kwargs", {"__gemini_function_call_thought_signatures__": {"c1": "x"}})
    assert read_one(tmp_path, row).messages == conversation("Hm.", error=True)


def test_blocks_of_no_kind_and_thoughts_that_nobody_can_read(tmp_path: Path) -> None:
    content = "messages.3.content.0"
    refused(tmp_path, changed(PLAIN, f"{content}.type", ["x"]), r"messages\[3\]\.content\[0\]\.type: must be text")
    block = {"type": "tool_use", "id": ["x"]}
    refused(tmp_path, changed(PLAIN, content, block), r"messages\[3\]\.content\[0\]\.id: must be text")
    row = changed(PLAIN, content, {"type": "reasoning", "summary": [], "encrypted_content": "x"})
    notes = Notes()
    with notes.kept():
        read_one(tmp_path, row)
    (of_the_file,) = notes.files.values()
    assert of_the_file.remarks[ENCRYPTED] == 1


@pytest.mark.parametrize(
    "block",
    [
        {"type": "reasoning", "id": "rs", "index": 0},
        {"type": "reasoning", "summary": [{"type": "summary_text", "index": 0}]},
        {"type": "thinking", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
    ],
)
def test_blocks_of_thoughts_without_text_are_no_thoughts(tmp_path: Path, block: dict[str, Any]) -> None:
    row = changed(PLAIN, "messages.1.content", [block, "I look."])
    assert read_one(tmp_path, row).messages == conversation("Look it up.", error=True)


def test_thoughts_beside_the_content_as_openais_responses_api_has_them(tmp_path: Path) -> None:
    for summary, thought in ([], None), ([{"type": "summary_text", "text": "Hm."}], "Hm."):
        beside = {"reasoning": {"type": "reasoning", "id": "rs", "summary": summary}}
        found = read_one(tmp_path, changed(PLAIN, "messages.1.additional_kwargs", beside))
        assert found.messages == conversation(thought, error=True)
