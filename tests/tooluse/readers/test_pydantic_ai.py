"""Pydantic AI's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message

CALL = {"part_kind": "tool-call", "tool_name": "lookup", "args": '{"word": "dog"}', "tool_call_id": "c1"}
RETURN = {"part_kind": "tool-return", "tool_name": "lookup", "content": "a pet", "tool_call_id": "c1", "timestamp": "t"}
ROW: dict[str, Any] = {
    "tools": [LOOKUP],
    "messages": [
        {
            "kind": "request",
            "instructions": "Be brief.",
            "parts": [{"part_kind": "user-prompt", "content": "What is a dog?", "timestamp": "t"}],
        },
        {
            "kind": "response",
            "usage": {"input_tokens": 9},
            "model_name": "m",
            "parts": [
                {"part_kind": "thinking", "content": "Look it up.", "signature": None},
                {"part_kind": "text", "content": "I look."},
                CALL,
            ],
        },
        {"kind": "request", "instructions": "Be brief.", "parts": [RETURN]},
        {"kind": "response", "parts": [{"part_kind": "text", "content": "A pet."}]},
    ],
}
EXAMPLES = [ROW]


@pytest.mark.parametrize("arguments", ['{"word": "dog"}', {"word": "dog"}])
def test_parts(tmp_path: Path, arguments: Any) -> None:
    found = read_one(tmp_path, changed(ROW, "messages.1.parts.2.args", arguments))
    assert found.messages == (Message("system", "Be brief."), *conversation("Look it up."))
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]


def test_what_is_to_be_tried_again(tmp_path: Path) -> None:
    retry = {"part_kind": "retry-prompt", "tool_name": "lookup", "tool_call_id": "c1", "content": [{"msg": "no"}]}
    found = read_one(tmp_path, changed(ROW, "messages.2.parts.0", retry))
    assert found.messages[3] == Message("tool", '[{"msg": "no"}]', name="lookup", call_id="c1", error=True)
    asked = {"part_kind": "retry-prompt", "tool_name": None, "tool_call_id": "x", "content": "Again, as JSON."}
    row = changed(ROW, "messages.1.parts", [{"part_kind": "text", "content": "A pet."}])
    said = read_one(tmp_path, changed(row, "messages.2.parts", [asked])).messages
    assert said[3] == Message("user", "Again, as JSON.")


@pytest.mark.parametrize(("outcome", "error"), [("success", False), ("failed", True), ("denied", True)])
def test_outcomes(tmp_path: Path, outcome: str, error: bool) -> None:
    assert read_one(tmp_path, changed(ROW, "messages.2.parts.0.outcome", outcome)).messages[3].error is error


def test_tools_that_the_vendor_runs(tmp_path: Path) -> None:
    call, result = ({**part, "part_kind": f"builtin-{part['part_kind']}"} for part in (CALL, RETURN))
    answer = {"kind": "response", "parts": [call, result, {"part_kind": "text", "content": "A pet."}]}
    found = read_one(tmp_path, {"messages": [ROW["messages"][0], answer]})
    assert found.messages[2:] == (Message("assistant", "", (Call("lookup", {"word": "dog"}),)), *conversation()[2:])


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        ("messages.0.kind", "reply", "must be 'request' or 'response'"),
        ("messages.0.parts.0.content", [{"kind": "image-url"}], r"messages\[0\].parts\[0\].content: only text can"),
        ("messages.0.parts.0", CALL, "a part of kind 'tool-call' cannot be read in a request"),
        ("messages.1.parts.1.part_kind", "file", "a part of kind 'file' cannot be read in a response"),
        ("messages.2.parts.0.tool_call_id", "x", "is the id of no earlier call"),
        ("messages.1.parts.2.arguments", {}, r"messages\[1\].parts\[2\].arguments: unknown field"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, value: Any, problem: str) -> None:
    refused(tmp_path, changed(ROW, way, value), f".*{problem}")
