"""Amazon Bedrock's Converse API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message

SPEC = {"name": "lookup", "description": "Does lookup.", "inputSchema": {"json": LOOKUP["parameters"]}}
RESULT: dict[str, Any] = {"toolUseId": "c1", "content": [{"json": {"is": "a pet"}}], "status": "success"}
ROW: dict[str, Any] = {
    "schemaVersion": "bedrock-conversation-2024",
    "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
    "toolConfig": {"tools": [{"toolSpec": SPEC}, {"cachePoint": {"type": "default"}}], "toolChoice": {"auto": {}}},
    "inferenceConfig": {"maxTokens": 9},
    "messages": [
        {"role": "user", "content": [{"text": "What is a dog?"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Look it up.", "signature": "s"}}},
                {"text": "I look."},
                {"toolUse": {"toolUseId": "c1", "name": "lookup", "input": {"word": "dog"}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": RESULT}]},
        {"role": "assistant", "content": [{"text": "A pet."}]},
    ],
}
EXAMPLES = [ROW]


def test_blocks(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    system, question, call, result, answer = found.messages
    expected = conversation("Look it up.")
    assert (system, question, call, answer) == (Message("system", "Be brief."), expected[0], expected[1], expected[3])
    assert result == Message("tool", '{"is": "a pet"}', name="lookup", call_id="c1")
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]
    assert found.meta["inferenceConfig"] == {"maxTokens": 9}


def test_failures_and_several_results(tmp_path: Path) -> None:
    calls = [{"toolUse": {"toolUseId": id, "name": "lookup", "input": {"word": id}}} for id in "ab"]
    results = [
        {"toolResult": {"toolUseId": "b", "content": [{"text": "no such"}, {"text": "word"}], "status": "error"}},
        {"toolResult": {"toolUseId": "a", "content": []}},
        {"text": "And now?"},
    ]
    row = changed(ROW, "messages.1.content", calls)
    found = read_one(tmp_path, changed(row, "messages.2.content", results)).messages
    assert [call.id for call in found[2].tool_calls] == ["a", "b"]
    assert found[3:6] == (
        Message("tool", "", name="lookup", call_id="a"),
        Message("tool", "no such\nword", name="lookup", call_id="b", error=True),
        Message("user", "And now?"),
    )


def test_a_conversation_without_tools(tmp_path: Path) -> None:
    row = {"system": ROW["system"][:1], "messages": [ROW["messages"][0], ROW["messages"][3]]}
    assert read_one(tmp_path, row).messages == (Message("system", "Be brief."), *conversation()[::3])


def test_blocks_that_say_their_type_are_anthropics(tmp_path: Path) -> None:
    call = {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"word": "dog"}}
    row = {"system": ROW["system"][:1], "messages": [{"role": "assistant", "content": [call]}]}
    assert read_one(tmp_path, row).messages[1].tool_calls == (Call("lookup", {"word": "dog"}, id="c1"),)


def test_what_the_api_answered(tmp_path: Path) -> None:
    *messages, answer = ROW["messages"]
    row = {**ROW, "messages": messages, "output": {"message": answer}, "stopReason": "end_turn", "usage": {}}
    assert read_one(tmp_path, row).messages == read_one(tmp_path, ROW).messages


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        ("messages.0.content.0", {"image": {}}, r"messages\[0\].content\[0\]: only blocks of text"),
        ("messages.1.content.2.toolUse.args", {}, r"messages\[1\].content\[2\].toolUse.args: unknown field"),
        ("messages.2.content.0.toolResult.toolUseId", "x", "is the id of no earlier call"),
        ("messages.2.content.0.toolResult.status", "bad", "must be 'success' or 'error'"),
        ("messages.1.content.0", {"toolResult": RESULT}, "only blocks of text"),
        ("toolConfig.tools.1", {"systemTool": {"name": "search"}}, r"toolConfig.tools\[1\].systemTool: is a tool that"),
        ("toolConfig.tools.0.toolSpec.inputSchema", {"properties": {}}, "inputSchema.properties: unknown field"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, value: Any, problem: str) -> None:
    refused(tmp_path, changed(ROW, way, value), f".*{problem}")


def test_a_result_that_is_null(tmp_path: Path) -> None:
    for content, said in (([{"json": None}], "null"), ([{"json": None, "text": "a pet"}], "a pet")):
        row = changed(ROW, "messages.2.content.0.toolResult.content", content)
        assert read_one(tmp_path, row).messages[3].content == said
