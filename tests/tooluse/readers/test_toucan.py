"""Toucan-1.5M."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Tool

OFFERED = json.dumps([{"type": "function", "function": LOOKUP}])
ABOUT = {
    "uuid": "u1",
    "subset_name": "single-turn-original",
    "question": "What is a dog?",
    "target_tools": "lookup",
    "question_quality_assessment": '{"difficulty": 3}',
    "response_quality_assessment": "good",
    "metadata": '{"servers": ["dictionary"]}',
}
CALL = {"name": "lookup", "arguments": '{"word": "dog"}'}
FUNCTION_CALL = [
    {"role": "system", "content": f"<|im_system|>tool_declare<|im_middle|>{OFFERED}<|im_end|>"},
    {"role": "user", "content": "What is a dog?"},
    {"role": "assistant", "content": "I look.", "reasoning_content": "Look it up.", "function_call": CALL},
    {"role": "function", "content": "a pet", "name": "lookup"},
    {"role": "assistant", "content": "A pet."},
]
TOOL_CALL: list[dict[str, Any]] = [
    FUNCTION_CALL[1],
    {"role": "assistant", "content": "I look."},
    {"role": "tool_call", "content": str(CALL)},
    {"role": "tool_response", "content": "a pet"},
    FUNCTION_CALL[4],
]
ROW = {**ABOUT, "available_tools": OFFERED, "messages": json.dumps(FUNCTION_CALL)}
SFT = {**ABOUT, "uuid": "u2", "tools": OFFERED, "messages": json.dumps(TOOL_CALL)}
EXAMPLES = [ROW, SFT]


@pytest.mark.parametrize(("row", "thought"), [(ROW, "Look it up."), (SFT, None)])
def test_rows(tmp_path: Path, row: Any, thought: str | None) -> None:
    found = read_one(tmp_path, row)
    assert (found.id, found.tools) == (row["uuid"], (Tool.from_json(LOOKUP),))
    assert found.messages == conversation(thought, call_id=None)
    assert found.meta["metadata"] == {"servers": ["dictionary"]}
    assert found.meta["response_quality_assessment"] == "good"


def test_tools_that_only_the_system_message_lists(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "available_tools"}
    assert read_one(tmp_path, row).tools == (Tool.from_json(LOOKUP),)


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, {**ROW, "messages": "[{]"}, r"messages: is neither JSON nor a Python literal")
    messages = changed({"m": FUNCTION_CALL}, "m.3.foo", 1)["m"]
    refused(tmp_path, {**ROW, "messages": json.dumps(messages)}, r"messages\[3\]\.foo: unknown field")
