"""LlamaIndex' chat messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories


def text(said: str) -> dict[str, Any]:
    return {"block_type": "text", "text": said}


CALL = {"block_type": "tool_call", "tool_call_id": "c1", "tool_name": "lookup", "tool_kwargs": {"word": "dog"}}
RAW = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": json.dumps({"word": "dog"})}}
THOUGHT = {"block_type": "thinking", "content": "Look it up.", "num_tokens": 3, "additional_information": {}}
ROW: dict[str, Any] = {
    "tools": [LOOKUP],
    "messages": [
        {"role": "user", "additional_kwargs": {}, "blocks": [text("What is a dog?")]},
        {"role": "assistant", "additional_kwargs": {}, "blocks": [THOUGHT, text("I look."), CALL]},
        {"role": "tool", "additional_kwargs": {"tool_call_id": "c1", "name": "lookup"}, "blocks": [text("a pet")]},
        {"role": "assistant", "additional_kwargs": {}, "blocks": [text("A pet.")]},
    ],
}
OLDER: dict[str, Any] = {
    "tools": [LOOKUP],
    "messages": [
        {"role": "user", "content": "What is a dog?", "additional_kwargs": {}},
        {"role": "assistant", "content": "I look.", "additional_kwargs": {"tool_calls": [RAW], "refusal": None}},
        {"role": "tool", "content": "a pet", "additional_kwargs": {"tool_call_id": "c1"}},
        {"role": "assistant", "content": "A pet.", "additional_kwargs": {}},
    ],
}
EXAMPLES = [ROW, OLDER]


@pytest.mark.parametrize(
    ("row", "reasoning"),
    [
        (ROW, "Look it up."),
        (OLDER, None),
        (changed(ROW, "messages.1.additional_kwargs", {"tool_calls": [RAW]}), "Look it up."),
        (changed(ROW, "messages.1.blocks.2.tool_kwargs", '{"word": "dog"}'), "Look it up."),
    ],
)
def test_messages(tmp_path: Path, row: Any, reasoning: str | None) -> None:
    found = read_one(tmp_path, row)
    assert found.messages == conversation(reasoning)
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]


def test_calls_of_langchains_messages_by_role_are_not_dropped(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "", "additional_kwargs": {}, "tool_calls": [RAW]}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Go."}, call]}), encoding="utf-8")
    (found,) = read_trajectories(path, notes=Notes("drop"))
    assert [made.name for made in found.messages[1].tool_calls] == ["lookup"]


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        ("messages.0.blocks.0", {"block_type": "image", "url": "u"}, "a block of type 'image' cannot be read"),
        ("messages.1.additional_kwargs", {"tool_calls": [{**RAW, "function": {"name": "f"}}]}, "other calls"),
        ("messages.1.content", "I do not.", "says something else than the blocks"),
        ("messages.2.additional_kwargs.tool_call_id", "x", "is the id of no earlier call"),
        ("messages.1.blocks.2.tool_args", {}, r"messages\[1\].blocks\[2\].tool_args: unknown field"),
        ("messages.0.blocks.0", CALL, "only an assistant message has tool_calls"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, value: Any, problem: str) -> None:
    refused(tmp_path, changed(ROW, way, value), f".*{problem}")
