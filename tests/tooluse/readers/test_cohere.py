"""Cohere's chat API, version 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message

DEFINED = {
    "name": "lookup",
    "description": "Does lookup.",
    "parameter_definitions": {
        "word": {"type": "str", "description": "The word.", "required": True},
        "limit": {"type": "int", "description": "The limit."},
    },
}
CALL = {"name": "lookup", "parameters": {"word": "dog"}}
RESULTS = [{"call": CALL, "outputs": [{"is": "a pet"}]}]
ROW: dict[str, Any] = {
    "model": "command-r",
    "preamble": "Be brief.",
    "tools": [DEFINED],
    "chat_history": [
        {"role": "USER", "message": "What is a dog?"},
        {"role": "CHATBOT", "message": "I look.", "tool_calls": [CALL]},
        {"role": "TOOL", "tool_results": RESULTS},
        {"role": "CHATBOT", "message": "A pet."},
    ],
}
QUESTION, TURN, _, ANSWER = conversation()
READ = (Message("system", "Be brief."), QUESTION, TURN, Message("tool", '[{"is": "a pet"}]', name="lookup"), ANSWER)
STEP: dict[str, Any] = {**ROW, "chat_history": ROW["chat_history"][:2], "message": "", "tool_results": RESULTS}
"""The request with the results of the calls that were answered last, and its answer."""
STEP |= {"text": "A pet.", "finish_reason": "COMPLETE", "generation_id": "g", "citations": []}
EXAMPLES = [ROW, STEP]


@pytest.mark.parametrize("row", [ROW, STEP, {**ROW, "text": "A pet."}])
def test_history_question_results_and_answer(tmp_path: Path, row: Any) -> None:
    """An answer that the history ends with is not said twice."""
    found = read_one(tmp_path, row)
    assert found.messages == READ
    assert (found.tools[0].required, found.tools[0].properties["word"]["type"]) == (("word",), "string")


def test_a_request_alone(tmp_path: Path) -> None:
    row = {"message": "What is a dog?", "tools": [DEFINED], "text": "", "tool_calls": [CALL]}
    found = read_one(tmp_path, row).messages
    assert found == (QUESTION, Message("assistant", "", (Call("lookup", {"word": "dog"}),)))


def test_results_in_one_step_say_the_calls_that_no_message_makes(tmp_path: Path) -> None:
    row = {"message": "What is a dog?", "tools": [DEFINED], "tool_results": RESULTS, "text": "A pet."}
    called = Message("assistant", "", (Call("lookup", {"word": "dog"}),))
    assert read_one(tmp_path, row).messages == (QUESTION, called, READ[3], ANSWER)


def test_results_in_another_order(tmp_path: Path) -> None:
    calls = [{"name": "lookup", "parameters": {"word": word}} for word in ("dog", "cat")]
    results = [{"call": call, "outputs": [{"of": call["parameters"]["word"]}]} for call in reversed(calls)]
    row = changed(changed(ROW, "chat_history.1.tool_calls", calls), "chat_history.2.tool_results", results)
    assert [message.content for message in read_one(tmp_path, row).messages[3:5]] == [
        '[{"of": "dog"}]',
        '[{"of": "cat"}]',
    ]


@pytest.mark.parametrize(
    ("way", "value", "problem"),
    [
        ("chat_history.0.role", "ALIEN", r"chat_history\[0\]\.role: unknown role 'ALIEN'"),
        ("chat_history.0.content", "?", r"chat_history\[0\]\.content: unknown field"),
        ("chat_history.1.tool_calls.0.args", {}, r"chat_history\[1\]\.tool_calls\[0\]\.args: unknown field"),
        ("documents", [{"text": "x"}], "documents: holds documents that the model was given"),
        ("connectors", [{"id": "web-search"}], "connectors: is a tool that its vendor runs itself"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, value: Any, problem: str) -> None:
    refused(tmp_path, changed(ROW, way, value), problem)
