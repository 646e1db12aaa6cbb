"""Thoughts that a recorded text holds in the marks of a model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import USER
from tests.tooluse.readers.helpers import LOOKUP, lines
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.thoughts import THOUGHT
from tl_jax.tooluse.schema import Call, Message

CALL = {"name": "lookup", "arguments": {"word": "dog"}}
MARKED = [
    "<think>\nHm.\n</think>\n\n",
    "<thinking>Hm.</thinking>",
    "[THINK]Hm.[/THINK]",
    "<|channel|>analysis<|message|>Hm.<|end|>",
    "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>",
    "<|channel>thought\nHm.<channel|>",
    "<|START_THINKING|>Hm.<|END_THINKING|>",
]
RESULT = {"role": "tool", "content": "a pet"}


def read(tmp_path: Path, row: dict[str, Any]) -> tuple[tuple[Message, ...], Notes]:
    notes = Notes()
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", {"tools": [LOOKUP], **row}), notes=notes)
    return found.messages, notes


def sharegpt(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


@pytest.mark.parametrize("marked", MARKED)
@pytest.mark.parametrize("shape", ["messages", "blocks", "contents", "sharegpt"])
def test_an_answer_that_begins_with_thoughts(tmp_path: Path, marked: str, shape: str) -> None:
    said = f"{marked}It is a pet."
    rows: dict[str, dict[str, Any]] = {
        "messages": {"messages": [USER, {"role": "assistant", "content": said}]},
        "blocks": {
            "system": [{"type": "text", "text": " "}],
            "messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": said}]}],
        },
        "contents": {"contents": [{"parts": ["Go."]}, {"role": "model", "parts": [said]}], "tools": []},
        "sharegpt": sharegpt(("human", "Go."), ("gpt", said)),
    }
    messages, notes = read(tmp_path, rows[shape])
    assert messages == (Message("user", "Go."), Message("assistant", "It is a pet.", reasoning="Hm."))
    assert notes.remarks == {THOUGHT: 1}


@pytest.mark.parametrize("marked", MARKED)
def test_a_call_after_thoughts(tmp_path: Path, marked: str) -> None:
    expected = Message("assistant", "", (Call("lookup", {"word": "dog"}),), reasoning="Hm.")
    beside = {"role": "assistant", "content": marked, "tool_calls": [CALL]}
    within = {"role": "assistant", "content": f"{marked}<tool_call>{json.dumps(CALL)}</tool_call>"}
    turns = ("function_call", f"{marked}{json.dumps(CALL)}"), ("observation", "a pet")
    for row in (
        {"messages": [USER, beside, RESULT]},
        {"messages": [USER, within, RESULT]},
        sharegpt(("human", "Go."), *turns),
    ):
        messages, notes = read(tmp_path, row)
        assert messages[1] == expected
        assert notes.remarks == {THOUGHT: 1}


@pytest.mark.parametrize(
    "answer",
    [
        "<|channel|>final<|message|>It is a pet.<|return|>",
        "<|start|>assistant<|channel|>final<|message|>It is a pet.<|end|>",
        "<|channel|>final <|constrain|>json<|message|>It is a pet.",
        "<|START_RESPONSE|>It is a pet.<|END_RESPONSE|>",
    ],
)
@pytest.mark.parametrize("marked", ["", *MARKED[3:5], MARKED[-1]])
def test_marks_of_an_answer_are_no_part_of_it(tmp_path: Path, answer: str, marked: str) -> None:
    messages, _ = read(tmp_path, {"messages": [USER, {"role": "assistant", "content": f"{marked}{answer}"}]})
    assert messages[1] == Message("assistant", "It is a pet.", reasoning="Hm." if marked else None)


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "<think>Hm.</think>Yes.", "reasoning_content": "Hm."}, "Yes.", "Hm."),
        ({"content": "<think>Hm.</think>Yes.", "reasoning_content": "Ah."}, "Yes.", "Ah.\nHm."),
        ({"content": "<think>\n\n</think>\n\nYes."}, "Yes.", None),
        ({"content": "<think>A.</think><think>B.</think>Yes."}, "Yes.", "A.\nB."),
        ({"content": "Write <think>x</think>."}, "Write <think>x</think>.", None),
        ({"content": "<think>I go on"}, "<think>I go on", None),
    ],
)
def test_thoughts_that_stand_twice_or_are_none(
    tmp_path: Path, message: dict[str, Any], content: str, reasoning: str | None
) -> None:
    messages, _ = read(tmp_path, {"messages": [USER, {"role": "assistant", **message}]})
    assert messages[1] == Message("assistant", content, reasoning=reasoning)


def test_rows_of_our_own_and_words_of_users_stay(tmp_path: Path) -> None:
    said = "<think>Hm.</think>Yes."
    own = {"id": "1", "suite": "", "meta": {}, "messages": [USER, {"role": "assistant", "content": said}]}
    assert read(tmp_path, own)[0][1].content == said
    assert read(tmp_path, {"messages": [{"role": "user", "content": said}]})[0][0].content == said
