"""ms-swift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message, Tool


def called(word: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool_call", "content": json.dumps({"name": "lookup", "arguments": {"word": word}}), **more}


ROW = {
    "tools": json.dumps([{"type": "function", "function": LOOKUP}]),
    "messages": [
        {"role": "user", "content": "What is a dog?"},
        {"role": "assistant", "content": "I look."},
        called("dog"),
        {"role": "tool_response", "content": "a pet"},
        {"role": "assistant", "content": "A pet."},
    ],
}
OLDER = {"system": "Be brief.", "history": [["1+1?", "2"]], "query": "2+2?", "response": "4"}
EXAMPLES = [ROW]


def test_calls_and_results_by_role(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert found.messages == conversation(call_id=None)
    assert found.tools == (Tool.from_json(LOOKUP),)


def test_calls_at_once(tmp_path: Path) -> None:
    results = [{"role": "tool", "content": word} for word in ("a", "b")]
    found = read_one(tmp_path, {"messages": [ROW["messages"][0], called("a"), called("b"), *results]})  # type: ignore[index]
    assert found.messages[1:] == (
        Message("assistant", "", (Call("lookup", {"word": "a"}), Call("lookup", {"word": "b"}))),
        Message("tool", "a", name="lookup"),
        Message("tool", "b", name="lookup"),
    )


def test_weights(tmp_path: Path) -> None:
    row = changed(ROW, "messages.1.loss", False)
    first, second = read_one(tmp_path, row).messages[1:3]  # a text that is no target, and a call that is one
    assert (first.content, first.weight, second.tool_calls[0].name, second.weight) == ("I look.", 0, "lookup", None)
    row = changed(row, "messages.2.loss", False)
    joined = read_one(tmp_path, row).messages[1]
    assert (joined.content, len(joined.tool_calls), joined.weight) == ("I look.", 1, 0)


def test_older_rows(tmp_path: Path) -> None:
    found = read_one(tmp_path, OLDER)
    assert [(message.role, message.content) for message in found.messages] == [
        ("system", "Be brief."),
        ("user", "1+1?"),
        ("assistant", "2"),
        ("user", "2+2?"),
        ("assistant", "4"),
    ]
    refused(tmp_path, changed(OLDER, "history.0", ["1+1?"]), r"history\[0\]: must be a question and its answer")
    refused(tmp_path, {**OLDER, "rejected_response": "5"}, "rejected_response: is preference data")


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, changed(ROW, "messages.2.content", "lookup"), r"messages\[2\]\.content: is neither JSON nor")
    refused(tmp_path, {**ROW, "images": ["a.png"]}, r"images: holds pictures")
    refused(tmp_path, changed(ROW, "messages.3.loss_scale", 1), r"messages\[3\]\.loss_scale: unknown field")
