"""What a conversation is built of, in whichever format its parts stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers import (
    test_anthropic,
    test_bedrock,
    test_haystack,
    test_langchain,
    test_llamafactory,
    test_llamaindex,
    test_responses,
    test_swift,
)
from tests.tooluse.readers.chat import CALL, USER, turn
from tests.tooluse.readers.helpers import changed, lines, read_one
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.dialogue import AssistantTurn
from tl_jax.tooluse.readers.message_fields import CUT_OFF
from tl_jax.tooluse.schema import Call

TEXTS: list[Any] = [{"type": "text", "text": text} for text in ("10", "11")]
DOCUMENTS = [{"type": "document", "document": {"data": text}} for text in ("10", "11")]
OPENAI = {"messages": [USER, turn(CALL), {"role": "tool", "tool_call_id": "c1", "content": None}]}


@pytest.mark.parametrize(
    ("row", "way", "parts"),
    [
        (OPENAI, "messages.2.content", TEXTS),
        (OPENAI, "messages.2.content", DOCUMENTS),
        (OPENAI, "messages.2.content", {"content": TEXTS, "structuredContent": {"result": [10, 11]}}),
        (test_anthropic.ROW, "messages.2.content.0.content", TEXTS),
        (test_bedrock.ROW, "messages.2.content.0.toolResult.content", [{"text": "10"}, {"text": "11"}]),
        (test_haystack.ROW, "messages.2.content.0.tool_call_result.result", [{"text": "10"}, {"text": "11"}]),
        (test_langchain.PLAIN, "messages.2.content", TEXTS),
        (test_llamafactory.ROW, "messages.2.content", [{"type": "text", "value": text} for text in ("10", "11")]),
        (test_llamaindex.ROW, "messages.2.blocks", [{"block_type": "text", "text": text} for text in ("10", "11")]),
        (test_responses.ROW, "input.4.output", [{"type": "input_text", "text": text} for text in ("10", "11")]),
        (test_swift.ROW, "messages.3.content", TEXTS),
    ],
)
def test_each_part_of_a_result_is_a_line(tmp_path: Path, row: Any, way: str, parts: Any) -> None:
    found = read_one(tmp_path, changed(row, way, parts))
    assert [message.content for message in found.messages if message.role == "tool"] == ["10\n11"]


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (["first", Call, "after"], "first\nafter"),
        (["first", Call, "after", " all", Call, "", "!"], "first\nafter all\n!"),
        (["It is ", "green", "."], "It is green."),
        ([Call, "after"], "after"),
        (["", Call, "after"], "after"),
        (["first", Call, " "], "first "),
    ],
)
def test_a_call_parts_texts(said: list[Any], content: str) -> None:
    answer = AssistantTurn()
    for part in said:
        if isinstance(part, str):
            answer.text(part)
        else:
            answer.calls.append(Call("f"))
    assert answer.message().content == content


@pytest.mark.parametrize("calls", [[{"name": "lookup", "args": {"word": "dog"}, "id": "c1"}], []])
def test_a_call_parts_the_blocks_of_langchain(tmp_path: Path, calls: list[Any]) -> None:
    block = {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"word": "dog"}}
    row = changed(test_langchain.PLAIN, "messages.1.content", ["First.", block, "Then."])
    found = read_one(tmp_path, changed(row, "messages.1.tool_calls", calls)).messages[1]
    assert (found.content, found.tool_calls) == ("First.\nThen.", (Call("lookup", {"word": "dog"}),))


ASKED = [USER]
CUT: dict[str, Any] = {"role": "assistant", "content": "Cut"}
TEXT = {"type": "text", "text": "Cut"}
ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Cut"}]}
CONTENT = {"role": "model", "parts": [{"text": "Cut"}]}
CONVERSE = {"message": {"role": "assistant", "content": [{"text": "Cut"}]}}
CUT_OFFS: list[dict[str, Any]] = [
    {"messages": ASKED, "choices": [{"index": 0, "finish_reason": "length", "message": CUT}]},
    {"messages": [*ASKED, {**CUT, "finish_reason": "length"}]},
    {"messages": [*ASKED, {**CUT, "finish_reason": "content_filter"}]},
    {"messages": [*ASKED, {**CUT, "content": [TEXT], "stop_reason": "max_tokens"}]},
    {
        "system": [{"type": "text", "text": " "}],
        "messages": [*ASKED, {**CUT, "content": [TEXT], "stop_reason": "max_tokens"}],
    },
    {"contents": [{"parts": ["Go."]}], "candidates": [{"content": CONTENT, "finishReason": "MAX_TOKENS"}]},
    {"contents": [{"parts": ["Go."]}], "candidates": [{"content": CONTENT, "finish_reason": "MAX_TOKENS"}]},
    {"input": ASKED, "output": [{**ITEM, "status": "incomplete"}]},
    {"input": ASKED, "output": [ITEM], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    {"schemaVersion": "bedrock-conversation-2024", "messages": [], "output": CONVERSE, "stopReason": "max_tokens"},
    {"chat_history": [], "message": "Go.", "tools": [], "text": "Cut", "finish_reason": "MAX_TOKENS"},
    {
        "messages": [
            {"type": "human", "content": "Go."},
            {"type": "ai", "content": "Cut", "response_metadata": {"finish_reason": "length"}},
        ]
    },
    {"messages": [{"kind": "response", "parts": [{"part_kind": "text", "content": "Cut"}], "finish_reason": "length"}]},
    {
        "messages": [
            {"role": "user", "content": [{"text": "Go."}], "meta": {}, "name": None},
            {"role": "assistant", "content": [{"text": "Cut"}], "meta": {"finish_reason": "length"}, "name": None},
        ]
    },
    {"messages": [{"role": "assistant", "content": "Cut", "additional_kwargs": {"finish_reason": "length"}}]},
]


@pytest.mark.parametrize("row", CUT_OFFS)
def test_an_answer_that_was_cut_off_is_no_target(tmp_path: Path, row: dict[str, Any]) -> None:
    for text, weight, count in ((row, 0.0, 1), (finished(row), None, 0)):
        notes = Notes()
        (found,) = read_trajectories(lines(tmp_path / "data.jsonl", text), notes=notes)
        assert [(turn.content, turn.weight) for _, turn in found.turns] == [("Cut", weight)]
        assert notes.remarks[CUT_OFF] == count


def finished(row: dict[str, Any]) -> Any:
    """The row with an answer that came to its end."""
    text = json.dumps(row)
    for reason in ("length", "content_filter", "max_tokens", "MAX_TOKENS", "incomplete"):
        text = text.replace(f'"{reason}"', '"stop"')
    return json.loads(text)


def test_a_call_that_was_cut_off_is_no_target(tmp_path: Path) -> None:
    row = changed(test_responses.ROW, "input.3.status", "incomplete")
    assert [turn.weight for _, turn in read_one(tmp_path, row).turns] == [None, 0.0, None]


def test_a_weight_that_the_file_gives_stays(tmp_path: Path) -> None:
    row = {"messages": [*ASKED, {**CUT, "finish_reason": "length", "weight": 0.5}]}
    assert [turn.weight for _, turn in read_one(tmp_path, row).turns] == [0.5]
