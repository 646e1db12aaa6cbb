"""OpenAI's fine-tuning rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

TOOL = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}}}


EXAMPLES = [
    {
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}}]},
        ],
        "tools": [TOOL],
    }
]


def call(identity: str, name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def read(tmp_path: Path, *rows: Any) -> list[Any]:
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(read_trajectories(path, "openai"))


def test_a_whole_row(tmp_path: Path) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("1", "f", '{"x": 1}'), call("2", "g", "")],
            "weight": 0,
        },
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "assistant", "content": "done", "weight": 1},
    ]
    (trajectory,) = read(tmp_path, {"messages": messages, "tools": [TOOL], "parallel_tool_calls": True})
    assert trajectory.id == "chat:1"
    assert trajectory.tools == (Tool("f", "F.", {"type": "object"}),)
    assert trajectory.messages == (
        Message("system", "Be brief."),
        Message("user", "ab"),
        Message("assistant", "", (Call("f", {"x": 1}), Call("g")), weight=0.0),
        Message("tool", "one", name="f", call_id="1"),  # results in the order of the calls
        Message("tool", "two", name="g", call_id="2"),
        Message("assistant", "done", weight=1.0),
    )
    (detected,) = read_trajectories(tmp_path / "chat.jsonl")
    assert detected == trajectory


def test_the_older_shape(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}},
        {"role": "function", "name": "f", "content": "1"},
    ]
    (trajectory,) = read(tmp_path, {"id": 7, "messages": messages, "functions": [{"name": "f"}]})
    assert trajectory.id == "7"
    assert trajectory.tools == (Tool("f"),)
    assert trajectory.messages[1:] == (
        Message("assistant", tool_calls=(Call("f", {"x": 1}),)),
        Message("tool", "1", name="f"),
    )


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (
            {"role": "assistant", "tool_calls": [call("1", "f", "{'x': 1}")]},
            r"messages\[0\]\.tool_calls\[0\]\.function\.arguments: is not",
        ),
        (
            {"role": "assistant", "tool_calls": [call("1", "f", "[1]")]},
            r"tool_calls\[0\]\.function\.arguments: must be a JSON object, not list",
        ),
        ({"role": "assistant", "tool_calls": [call("1", None)]}, r"tool_calls\[0\]\.function\.name: is missing"),  # type: ignore[arg-type]
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, r"tool_calls\[0\]\.name: is missing"),
        ({"role": "assistant", "tool_calls": {"id": "1"}}, r"tool_calls: must be a list"),
        (
            {"role": "tool", "tool_call_id": "9", "content": "x"},
            r"\[0\]\.tool_call_id: '9' is the id of no earlier call",
        ),
        ({"role": "tool", "tool_call_id": ["9"], "content": "x"}, r"tool_call_id"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, r"messages\[0\]\.content\[0\]: only"),
        ({"role": "user", "content": "x", "weight": 1}, r"messages\[0\]: only an assistant message"),
        ({"role": "assistant", "content": "x", "weight": -1}, r"messages\[0\]\.weight"),
        ({"role": ["user"], "content": "x"}, r"messages\[0\]\.role: must be text"),
        ("hello", r"messages\[0\]: must be a JSON object, not str"),
    ],
)
def test_bad_rows_are_located(tmp_path: Path, message: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        read(tmp_path, {"messages": [{"role": "user", "content": "fine"}]}, {"messages": [message]})
    assert str(error.value).startswith(f"{tmp_path / 'chat.jsonl'}:2: ")
