"""Haystack's chat messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Message

CALL = {"id": "c1", "tool_name": "lookup", "arguments": {"word": "dog"}, "extra": None}


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "meta": {}, "name": None, "content": list(parts)}


TOOL = {"type": "haystack.tools.tool.Tool", "data": {**LOOKUP, "function": "words.lookup", "outputs_to_state": None}}
ROW: dict[str, Any] = {
    "tools": [TOOL],
    "messages": [
        message("user", {"text": "What is a dog?"}),
        message(
            "assistant",
            {"reasoning": {"reasoning_text": "Look it up.", "extra": {}}},
            {"text": "I look."},
            {"tool_call": CALL},
        ),
        message("tool", {"tool_call_result": {"result": "a pet", "origin": CALL, "error": True}}),
        {**message("assistant", {"text": "A pet."}), "meta": {"finish_reason": "stop"}},
    ],
}
OLDER = {"tools": [LOOKUP], "messages": [{f"_{key}": item[key] for key in item} for item in ROW["messages"]]}
EXAMPLES = [ROW, OLDER]


@pytest.mark.parametrize("row", EXAMPLES)
def test_parts_by_name(tmp_path: Path, row: Any) -> None:
    found = read_one(tmp_path, row)
    assert found.messages == conversation("Look it up.", error=True)
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]


def test_texts_alone(tmp_path: Path) -> None:
    """As versions before 2.9 wrote them, and a first request of later ones."""
    older = [
        {"role": role, "content": said, "meta": {}, "name": None} for role, said in (("user", "?"), ("system", "S"))
    ]
    assert read_one(tmp_path, {"messages": older}).messages == (Message("user", "?"), Message("system", "S"))
    assert read_one(tmp_path, {**ROW, "messages": ROW["messages"][:1]}).messages == conversation()[:1]


@pytest.mark.parametrize(
    ("said", "text"),
    [([{"text": "a"}, {"text": "pet"}], "a\npet"), ({"is": "a pet"}, '{"is": "a pet"}'), ([1, 2], "[1, 2]"), ("", "")],
)
def test_results_that_are_no_text(tmp_path: Path, said: Any, text: str) -> None:
    row = changed(ROW, "messages.2.content.0.tool_call_result.result", said)
    assert read_one(tmp_path, row).messages[2].content == text


def test_calls_without_ids(tmp_path: Path) -> None:
    """The call that a result says once more tells whose it is."""
    row = changed(ROW, "messages.1.content.2.tool_call.id", None)
    row = changed(row, "messages.2.content.0.tool_call_result.origin.id", None)
    assert read_one(tmp_path, row).messages[2] == Message("tool", "a pet", name="lookup", error=True)


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        ("messages.0.content.0", {"image": {}}, r"messages\[0\]\.content\[0\]\.image: unknown field"),
        ("messages.0.content", {"text": "?"}, r"messages\[0\]\.content: must be text or a list of parts, not dict"),
        ("messages.0.role", "bot", r"messages\[0\]\.role: unknown role 'bot'"),
        ("messages.2.content", [{"text": "a pet"}], r"messages\[2\]\.content: must hold results"),
        ("messages.2.content.0.tool_call_result.result", [{"image": {}}], r"messages\[2\].*only text can be read"),
        ("messages.2.content.0.tool_call_result.origin.id", "z", r"messages\[2\].*'z' is the id of no earlier call"),
        ("messages.1.content.2.tool_call.args", {}, r"messages\[1\]\.content\[2\]\.tool_call\.args: unknown field"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, value: Any, problem: str) -> None:
    refused(tmp_path, changed(ROW, way, value), problem)
