"""Anthropic's Messages API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.message_fields import ENCRYPTED
from tl_jax.tooluse.readers.texts import REORDERED
from tl_jax.tooluse.schema import Call, Message, Tool

OFFERED = {"name": "lookup", "description": "Does lookup.", "input_schema": LOOKUP["parameters"]}
ROW: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [OFFERED],
    "messages": [
        {"role": "user", "content": "What is a dog?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look it up.", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"word": "dog"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "a pet"}],
                    "is_error": True,
                }
            ],
        },
        {"role": "assistant", "content": "A pet."},
    ],
}
EXAMPLES = [ROW]


def test_blocks(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert found.messages == (Message("system", "Be brief."), *conversation("Look it up.", error=True))
    assert found.messages[2].tool_calls[0].id == "c1"
    assert found.tools == (Tool.from_json(LOOKUP),)
    assert (found.suite, found.meta) == ("anthropic", {"model": "claude", "max_tokens": 100})


def test_results_among_the_words_of_the_user(tmp_path: Path) -> None:
    calls = [{"type": "tool_use", "id": name, "name": "lookup", "input": {"word": name}} for name in ("a", "b")]
    results = [{"type": "tool_result", "tool_use_id": name, "content": name} for name in ("b", "a")]
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [*results, {"type": "text", "text": "Hurry."}]},
    ]
    found = read_one(tmp_path, {"messages": messages})
    assert [(message.role, message.content) for message in found.messages[2:]] == [
        ("tool", "a"),
        ("tool", "b"),
        ("user", "Hurry."),
    ]


def test_what_nobody_can_read_is_counted(tmp_path: Path) -> None:
    row = changed(ROW, "messages.1.content.0", {"type": "redacted_thinking", "data": "xyz"})
    row["messages"][1]["content"].append({"type": "text", "text": "Wait."})
    notes = Notes()
    with notes.kept():
        found = read_one(tmp_path, row)
    assert found.messages[2] == Message("assistant", "I look.\nWait.", (Call("lookup", {"word": "dog"}),))
    (of_the_file,) = notes.files.values()
    assert of_the_file.remarks == {ENCRYPTED: 1, REORDERED: 1}


def test_tools_that_anthropic_runs_itself(tmp_path: Path) -> None:
    found = {"type": "web_search_result", "title": "Dog", "url": "u", "encrypted_content": "x"}
    blocks = [
        {"type": "text", "text": "I look."},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "dog"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [found]},
        {"type": "mcp_tool_use", "id": "m1", "name": "lookup", "server_name": "s", "input": {"word": "dog"}},
        {"type": "mcp_tool_result", "tool_use_id": "m1", "content": [{"type": "text", "text": "a pet"}]},
        {"type": "text", "text": "A pet."},
    ]
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]
    messages = [ROW["messages"][0], {"role": "assistant", "content": blocks}]
    read = read_one(tmp_path, {"tools": tools, "messages": messages})
    assert read.messages[1:] == (
        Message("assistant", "I look.", (Call("web_search", {"query": "dog"}),)),
        Message("tool", '[{"type": "web_search_result", "title": "Dog", "url": "u"}]', name="web_search", call_id="s1"),
        Message("assistant", "", (Call("lookup", {"word": "dog"}),)),
        Message("tool", "a pet", name="lookup", call_id="m1"),
        Message("assistant", "A pet."),
    )
    assert read.tools == (Tool("web_search", extra={"x-type": "web_search_20250305", "x-max_uses": 5}),)
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    blocks[2] = {**blocks[2], "content": failed}
    assert read_one(tmp_path, {"messages": messages}).messages[2].error


def test_several_searches_at_once_and_thoughts_that_nobody_can_read(tmp_path: Path) -> None:
    calls = [{"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": id}} for id in "ab"]
    results = [{"type": "web_search_tool_result", "tool_use_id": id, "content": []} for id in "ab"]
    answer = {"role": "assistant", "content": [*calls, *results, {"type": "text", "text": "A pet."}]}
    hidden = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}
    for last, roles in ((answer, ["user", "assistant", "tool", "tool", "assistant"]), (hidden, ["user", "assistant"])):
        found = read_one(tmp_path, {"system": ROW["system"], "messages": [ROW["messages"][0], last]})
        assert [message.role for message in found.messages[1:]] == roles


def test_results_by_the_role_that_openai_gives_them(tmp_path: Path) -> None:
    row = changed(ROW, "messages.2.role", "tool")
    assert read_one(tmp_path, row).messages == read_one(tmp_path, ROW).messages
    refused(tmp_path, changed(row, "messages.2.content.0.type", "text"), r"messages\[2\].role: unknown role 'tool'")


def test_a_system_text_in_blocks_tells_the_format(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "A pet."}]}
    row = {"system": ROW["system"], "messages": [ROW["messages"][0], answer]}
    assert read_one(tmp_path, row).messages[0] == Message("system", "Be brief.")
    refused(tmp_path, {**row, "system": [1]}, "system: must be text, not list")


def test_bad_rows(tmp_path: Path) -> None:
    image = {"type": "image", "source": {}}
    refused(tmp_path, changed(ROW, "messages.1.content.0", image), r"messages\[1\]\.content\[0\]: .*'image' cannot be")
    refused(tmp_path, changed(ROW, "messages.2.content.0.tool_use_id", "z"), r"messages\[2\].*'z' is the id of no")
    refused(tmp_path, changed(ROW, "messages.0.role", "tool"), r"messages\[0\]\.role: unknown role 'tool'")
    refused(tmp_path, changed(ROW, "messages.2.content.0.content.0.type", "image"), r".*only blocks of text")


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A dog is a pet."}}


@pytest.mark.parametrize("called", [True, False])
@pytest.mark.parametrize(
    ("document", "text"),
    [
        (DOCUMENT, "A dog is a pet.\n"),
        (
            {**DOCUMENT, "title": "Pets", "context": "Old.", "citations": {"enabled": True}},
            "Pets\nOld.\nA dog is a pet.\n",
        ),
        (changed(DOCUMENT, "source", {"type": "content", "content": "A pet."}), "A pet.\n"),
        (changed(DOCUMENT, "source", {"type": "content", "content": [{"type": "text", "text": "A pet."}]}), "A pet.\n"),
    ],
)
def test_documents_that_are_text(tmp_path: Path, document: dict[str, Any], text: str, called: bool) -> None:
    row = ROW if called else {"messages": ROW["messages"][:1]}
    row = changed(row, "messages.0.content", [document, {"type": "text", "text": "What is a dog?"}])
    asked = next(message for message in read_one(tmp_path, row).messages if message.role == "user")
    assert asked.content == f"{text}What is a dog?"


def test_documents_that_are_files_are_refused(tmp_path: Path) -> None:
    file = changed(DOCUMENT, "source", {"type": "base64", "media_type": "application/pdf", "data": "x"})
    for row in (ROW, {"messages": ROW["messages"][:1]}):
        problem = r"messages\[0\]\.content\[0\]\.source: documents of type 'base64' are not read, only text"
        refused(tmp_path, changed(row, "messages.0.content", [file]), problem)


def test_documents_in_results(tmp_path: Path) -> None:
    found = read_one(tmp_path, changed(ROW, "messages.2.content.0.content", [DOCUMENT]))
    assert found.messages[3].content == "A dog is a pet.\n"
