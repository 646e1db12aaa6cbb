"""What a conversation is built of, in whichever format its parts stand."""

from __future__ import annotations

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
from tests.tooluse.readers.helpers import changed, read_one
from tl_jax.tooluse.readers.dialogue import AssistantTurn
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
