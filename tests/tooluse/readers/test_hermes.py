"""Hermes' and Qwen's texts in messages by role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory

CALL = '<tool_call>\n{"name": "lookup", "arguments": {"word": "dog"}}\n</tool_call>'
PROMPT = (
    "Be brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    f"{json.dumps({'type': 'function', 'function': LOOKUP})}\n</tools>\n\n"
    "For each function call, return a json object within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
ROW: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": "What is a dog?"},
        {"role": "assistant", "content": f"<think>\nLook it up.\n</think>\nI look.\n{CALL}", "weight": 0.5},
        {"role": "tool", "content": "<tool_response>\na pet\n</tool_response>"},
        {"role": "assistant", "content": "A pet."},
    ]
}
EXAMPLES = [ROW]


def test_texts_become_structure(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert found.tools == (Tool.from_json(LOOKUP),)
    assert found.messages[2].weight == 0.5
    row = changed(ROW, "messages.2.weight", None)
    assert read_one(tmp_path, row).messages == (
        Message("system", "Be brief."),
        *conversation("Look it up.", call_id=None),
    )


def test_several_results_in_the_words_of_the_user(tmp_path: Path) -> None:
    wrapped = '{"name": "lookup", "content": {"is": "a pet"}}'
    results = f"<tool_response>\n{wrapped}\n</tool_response>\n<tool_response>\nno\n</tool_response>"
    row = changed(ROW, "messages.2.content", CALL + "\n" + CALL.replace("dog", "cat"))
    found = read_one(tmp_path, changed(row, "messages.3", {"role": "user", "content": results}))
    assert found.messages[2].tool_calls == (Call("lookup", {"word": "dog"}), Call("lookup", {"word": "cat"}))
    assert found.messages[3:5] == (
        Message("tool", '{"is": "a pet"}', name="lookup"),
        Message("tool", "no", name="lookup"),
    )


def test_results_are_unwrapped_only_if_they_say_nothing_else(tmp_path: Path) -> None:
    for text in ('{"name": "other", "content": 1}', '{"name": "lookup", "content": 1, "more": 2}'):
        found = read_one(tmp_path, changed(ROW, "messages.3.content", f"<tool_response>{text}</tool_response>"))
        assert found.messages[3] == Message("tool", text, name="lookup")


def test_several_objects_in_one_tag(tmp_path: Path) -> None:
    two = CALL.replace("\n</tool_call>", '\n{"name": "lookup", "parameters": {"word": "cat"}}\n</tool_call>')
    found = read_one(tmp_path, changed(ROW, "messages.2.content", two))
    assert [call.arguments["word"] for call in found.messages[2].tool_calls] == ["dog", "cat"]


def test_bad_rows(tmp_path: Path) -> None:
    refused(
        tmp_path, changed(ROW, "messages.2.content", "<tool_call>{</tool_call>"), r"messages\[2\]\.content: tool_call"
    )
    refused(tmp_path, changed(ROW, "messages.3.foo", 1), r"messages\[3\]\.foo: unknown field")


def test_what_we_wrote_ourselves_is_structure_already(tmp_path: Path) -> None:
    said = Message("assistant", f"It writes {CALL}")
    own = Trajectory("t", (), (Message("user", "How does it call?"), said))
    assert read_one(tmp_path, own.to_json()) == own
