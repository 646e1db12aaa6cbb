"""Nemotron-Agentic."""

from __future__ import annotations

from pathlib import Path

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Tool

CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}
ROW = {
    "uuid": "u1",
    "license": "cc-by-4.0",
    "used_in": ["nano_v3"],
    "reasoning": "on",
    "tools": [{"type": "function", "function": LOOKUP}],
    "messages": [
        {"role": "user", "content": "What is a dog?"},
        {"role": "assistant", "content": "I look.", "reasoning_content": "Look it up.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "a pet"},
        {"role": "assistant", "content": "A pet."},
    ],
}
EXAMPLES = [ROW]


def test_a_row(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert (found.id, found.tools) == ("u1", (Tool.from_json(LOOKUP),))
    assert found.messages == conversation("Look it up.")
    assert found.meta == {"uuid": "u1", "license": "cc-by-4.0", "used_in": ["nano_v3"], "reasoning": "on"}


def test_what_is_not_known_is_told(tmp_path: Path) -> None:
    refused(tmp_path, {**ROW, "foo": 1}, "foo: unknown field")
    refused(tmp_path, changed(ROW, "messages.1.foo", 1), r"messages\[1\]\.foo: unknown field")
