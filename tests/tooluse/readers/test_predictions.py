"""Files of a model's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import lines
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_predictions, read_turns
from tl_jax.tooluse.readers.nulls import DROPPED
from tl_jax.tooluse.schema import DataError


def test_predictions(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {"id": "a", "prediction": "f()", "tokens": 1}, {"id": 2, "prediction": ""})
    assert read_predictions(path) == {"a": "f()", "2": ""}
    with pytest.raises(DataError, match=r":2: id: 'a' appears twice"):
        read_predictions(
            lines(tmp_path / "data.jsonl", {"id": "a", "prediction": "f()"}, {"id": "a", "prediction": "g()"})
        )
    with pytest.raises(DataError, match=r':1: row: must be an object with "id"'):
        read_predictions(lines(tmp_path / "data.jsonl", {"id": "a", "prediction": None}))
    with pytest.raises(DataError, match=r":1: id: must be text or a number, not list"):
        read_predictions(lines(tmp_path / "data.jsonl", {"id": ["a"], "prediction": "f()"}))


def test_a_field_that_is_not_known_is_an_error_or_is_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {"id": "a", "prediction": "f()", "tool_calls": [{"name": "g"}]})
    with pytest.raises(DataError, match=r"data.jsonl:1: tool_calls: unknown field"):
        read_predictions(path)
    notes = Notes("drop")
    with notes.kept():
        assert read_predictions(path) == {"a": "f()"}
    assert notes.dropped == {"tool_calls": 1}


def test_how_answers_came_about_and_what_describes_them_is_known(tmp_path: Path) -> None:
    row = {"id": "a", "prediction": "f()", "finished": True, "problem": "?", "model": "small", "created_at": "today"}
    assert read_predictions(lines(tmp_path / "data.jsonl", row)) == {"a": "f()"}


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
AS_TEXT = '{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}'


OF_ANTHROPIC = {
    "type": "message",
    "role": "assistant",
    "id": "m",
    "model": "claude",
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 9},
    "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}],
}
OF_RESPONSES = [
    {"type": "reasoning", "id": "r", "summary": []},
    {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "I look."}],
    },
    {"type": "function_call", "id": "f", "call_id": "c1", "name": "f", "arguments": '{"a": 1}', "status": "completed"},
    {"type": "function_call_output", "call_id": "c1", "output": "5"},
    {"type": "message", "role": "assistant", "content": "Five."},
]
MESSAGE = {"role": "assistant", "content": None, "tool_calls": [CALL]}
WHOLE: dict[str, tuple[Any, str]] = {
    "OpenAI": (
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls", "logprobs": None}],
            "usage": {"total_tokens": 1},
        },
        AS_TEXT,
    ),
    "Responses": (
        {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "output": OF_RESPONSES[:2]},
        "I look.",
    ),
    "Google": (
        {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {"totalTokenCount": 9},
            "modelVersion": "g",
        },
        '{"name": "f", "arguments": {"a": 1}}',
    ),
    "Amazon": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "No."}]}},
            "stopReason": "end_turn",
            "usage": {"totalTokens": 9},
            "metrics": {"latencyMs": 1},
        },
        "No.",
    ),
    "Ollama": (
        {
            "model": "m",
            "created_at": "2026-01-01T00:00:00Z",
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
            },
            "done": True,
            "done_reason": "stop",
            "eval_count": 3,
        },
        '{"function": {"name": "f", "arguments": {"a": 1}}}',
    ),
    "Cohere": (
        {
            "id": "c",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
        },
        "No.",
    ),
}


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, AS_TEXT),
        ({"role": "assistant", "content": "No.", "reasoning_content": "Hm.", "finish_reason": "stop"}, "No."),
        ({"role": "assistant", "content": None}, ""),
        ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1"}], AS_TEXT),
        (OF_ANTHROPIC, '{"name": "f", "arguments": {"a": 1}}'),
        (OF_RESPONSES, 'I look.\n{"name": "f", "arguments": "{\\"a\\": 1}"}'),
        ({"content": None, "tool_calls": [CALL]}, AS_TEXT),
        ([CALL, CALL], f"{AS_TEXT}\n{AS_TEXT}"),
        (CALL, AS_TEXT),
        ({"name": "f", "arguments": {"a": 1}}, '{"name": "f", "arguments": {"a": 1}}'),
        *((answer, text) for answer, text in WHOLE.values()),
    ],
)
def test_predictions_that_are_messages(tmp_path: Path, prediction: Any, text: str) -> None:
    path = lines(tmp_path / "data.jsonl", {"id": "a", "prediction": prediction})
    assert read_predictions(path) == read_turns(path) == {"a": text}


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        ({"role": "user", "content": "f()"}, 'row: must be an object with "id" and "prediction", a text or the assi'),
        ({"name": "f"}, 'row: must be an object with "id" and "prediction", a text or the assistant\'s message'),
        ([], 'row: must be an object with "id" and "prediction", a text or the assistant\'s message'),
        ({"choices": [{"message": MESSAGE}] * 2}, r"prediction\.choices: has 2 answers, not one; give each a row of"),
        (
            {"choices": [], "error": {"code": 429}},
            r"prediction\.choices: has 0 answers|prediction\.error: unknown field",
        ),
        ({"choices": [{"delta": MESSAGE}]}, r"prediction\.choices\[0\]"),
        ({"role": "assistant", "contents": "f()"}, r"prediction\.contents: unknown field; did you mean 'content'"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, prediction: Any, problem: str) -> None:
    path = lines(tmp_path / "data.jsonl", {"id": "a", "prediction": prediction})
    with pytest.raises(DataError, match=r"data\.jsonl:1: " + problem):
        read_predictions(path)


def test_a_table_adds_no_arguments(tmp_path: Path) -> None:
    """It gives each call all the arguments that any call has."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    calls = [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {"b": "x"}}]
    rows = [{"id": call["name"], "prediction": {"role": "assistant", "tool_calls": [call]}} for call in calls]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    notes = Notes()
    with notes.kept():
        found = read_predictions(tmp_path / "data.parquet")
    assert [json.loads(text) for text in found.values()] == calls
    assert notes.remarks == {DROPPED: 2}
