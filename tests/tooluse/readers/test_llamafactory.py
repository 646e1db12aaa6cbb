"""LLaMA-Factory v1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Tool


def said(role: str, *parts: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind, "value": value} for kind, value in parts], **more}


CALL = json.dumps({"name": "lookup", "arguments": {"word": "dog"}})
ROW = {
    "tools": json.dumps([LOOKUP]),
    "extra_info": "x",
    "_dataset_name": "d",
    "messages": [
        said("user", ("text", "What is a dog?"), loss_weight=0.0),
        said("assistant", ("reasoning", "Look it up."), ("text", "I look."), ("tool_call", CALL), loss_weight=0.5),
        said("tool", ("text", "a pet"), loss_weight=0.0),
        said("assistant", ("text", "A pet.")),
    ],
}
EXAMPLES = [ROW]


def test_parts(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    question, call, result, answer = conversation("Look it up.", call_id=None)
    assert found.messages[1].weight == 0.5
    assert found.tools == (Tool.from_json(LOOKUP),)
    assert found.meta == {"extra_info": "x", "_dataset_name": "d"}
    assert read_one(tmp_path, changed(ROW, "messages.1.loss_weight", None)).messages == (question, call, result, answer)


def test_tools_as_a_part_and_several_calls(tmp_path: Path) -> None:
    calls = json.dumps([{"name": "lookup", "arguments": {"word": word}} for word in ("a", "b")])
    messages = [
        said("system", ("text", "Be brief."), ("tools", json.dumps([LOOKUP]))),
        said("user", ("text", "Go.")),
        said("assistant", ("tool_calls", calls)),
    ]
    found = read_one(tmp_path, {"messages": messages})
    assert (found.tools, found.messages[0].content) == ((Tool.from_json(LOOKUP),), "Be brief.")
    assert [call.arguments["word"] for call in found.messages[2].tool_calls] == ["a", "b"]


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, changed(ROW, "messages.0.content.0.type", "image_url"), r"messages\[0\]\.content\[0\]: a part of")
    refused(tmp_path, changed(ROW, "messages.0.loss_weight", 1.0), r"messages\[0\]: only an assistant message has")
    refused(tmp_path, changed(ROW, "messages.0.role", "narrator"), r"messages\[0\]\.role: unknown role 'narrator'")
    refused(
        tmp_path, changed(ROW, "messages.1.content.2.value", "{"), r"messages\[1\]\.content\[2\]\.value: is neither"
    )
