"""Vercel's AI SDK: messages for models, and for pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Call, Message

CALL = {"type": "tool-call", "toolCallId": "c1", "toolName": "lookup", "input": {"word": "dog"}}
RESULT: dict[str, Any] = {"type": "tool-result", "toolCallId": "c1", "toolName": "lookup"}
ROW: dict[str, Any] = {
    "tools": {"lookup": {"description": "Does lookup.", "inputSchema": {"jsonSchema": LOOKUP["parameters"]}}},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is a dog?"}]},
        {
            "role": "assistant",
            "content": [{"type": "reasoning", "text": "Look it up."}, {"type": "text", "text": "I look."}, CALL],
        },
        {"role": "tool", "content": [{**RESULT, "output": {"type": "text", "value": "a pet"}}]},
        {"role": "assistant", "content": "A pet."},
    ],
}
PART = {"type": "tool-lookup", "toolCallId": "c1", "state": "output-available", "input": {"word": "dog"}}
PAGE: dict[str, Any] = {
    "tools": [LOOKUP],
    "messages": [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "What is a dog?"}]},
        {
            "id": "2",
            "role": "assistant",
            "metadata": {"model": "m"},
            "parts": [
                {"type": "step-start"},
                {"type": "reasoning", "text": "Look it up.", "state": "done"},
                {"type": "text", "text": "I look.", "state": "done"},
                {**PART, "output": "a pet"},
                {"type": "step-start"},
                {"type": "text", "text": "A pet.", "state": "done"},
                {"type": "source-url", "sourceId": "s", "url": "u", "title": "t"},
            ],
        },
    ],
}
INVOCATION = {"state": "result", "step": 0, "toolCallId": "c1", "toolName": "lookup", "args": {"word": "dog"}}
OLDER: dict[str, Any] = {
    "messages": [
        {"id": "1", "role": "user", "content": "What is a dog?"},
        {"id": "2", "role": "assistant", "content": "A pet.", "toolInvocations": [{**INVOCATION, "result": "a pet"}]},
    ]
}
EXAMPLES = [ROW, PAGE, OLDER]


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        PAGE,
        changed(ROW, "messages.2.content.0.output", {"type": "content", "value": [{"type": "text", "text": "a pet"}]}),
        changed(ROW, "messages.2.content.0", {**RESULT, "result": "a pet"}),
        changed(PAGE, "messages.1.parts.3", {**PART, "type": "dynamic-tool", "toolName": "lookup", "output": "a pet"}),
        changed(
            PAGE, "messages.1.parts.3", {"type": "tool-invocation", "toolInvocation": {**INVOCATION, "result": "a pet"}}
        ),
    ],
)
def test_messages(tmp_path: Path, row: Any) -> None:
    found = read_one(tmp_path, row)
    assert found.messages == conversation("Look it up.")
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]


def test_older_pages(tmp_path: Path) -> None:
    question, call, result, answer = read_one(tmp_path, OLDER).messages
    assert (question, result, answer) == tuple(conversation()[i] for i in (0, 2, 3))
    assert call == Message("assistant", "", (Call("lookup", {"word": "dog"}, id="c1"),))
    doubled = changed(OLDER, "messages.1.parts", [{"type": "text", "text": "A pet."}])
    assert read_one(tmp_path, doubled).messages == read_one(tmp_path, OLDER).messages


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (changed(ROW, "messages.2.content.0.output", {"type": "error-json", "value": {"no": 1}}), '{"no": 1}'),
        (changed(ROW, "messages.2.content.0.output", {"type": "execution-denied", "reason": "no"}), "no"),
        (changed(ROW, "messages.2.content.0", {**RESULT, "result": {"no": 1}, "isError": True}), '{"no": 1}'),
        (changed(PAGE, "messages.1.parts.3", {**PART, "state": "output-error", "errorText": "no"}), "no"),
        (
            changed(
                PAGE,
                "messages.1.parts.3",
                {**PART, "state": "output-denied", "approval": {"id": "a", "approved": False, "reason": "no"}},
            ),
            "no",
        ),
    ],
)
def test_failed_calls(tmp_path: Path, row: Any, text: str) -> None:
    assert read_one(tmp_path, row).messages[2] == Message("tool", text, name="lookup", call_id="c1", error=True)


def test_a_value_is_no_list_of_parts(tmp_path: Path) -> None:
    for value in ([{"type": "file", "name": "a"}], [{"type": "text", "text": "a"}]):
        row = changed(ROW, "messages.2.content.0.output", {"type": "json", "value": value})
        assert json.loads(read_one(tmp_path, row).messages[2].content) == value


def test_nothing_is_said_after_the_last_step_and_nothing_beside_parts_is_lost(tmp_path: Path) -> None:
    stopped = changed(PAGE, "messages.1.parts", PAGE["messages"][1]["parts"][:5])
    assert [message.role for message in read_one(tmp_path, stopped).messages] == ["user", "assistant", "tool"]
    parts = [{"type": "text", "text": "A pet."}]
    assert read_one(tmp_path, changed(OLDER, "messages.1.content", parts)).messages[1].tool_calls


def test_calls_without_results_and_several_at_once(tmp_path: Path) -> None:
    open_call = changed(PAGE, "messages.1.parts", [{**PART, "state": "input-available"}])
    assert [message.role for message in read_one(tmp_path, open_call).messages] == ["user", "assistant"]
    nothing = changed(PAGE, "messages.1.parts.3.output", None)
    assert read_one(tmp_path, nothing).messages[2] == Message("tool", "", name="lookup", call_id="c1")
    two = [{**PART, "output": "1"}, {**PART, "toolCallId": "c2", "output": {"a": 2}}, {"type": "text", "text": "Two."}]
    _, calls, *results, answer = read_one(tmp_path, changed(PAGE, "messages.1.parts", two)).messages
    assert [call.id for call in calls.tool_calls] == ["c1", "c2"]
    assert [result.content for result in results] == ["1", '{"a": 2}']
    assert answer.content == "Two."


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (changed(ROW, "messages.0.content.0", {"type": "image", "image": "u"}), "a part of type 'image'"),
        (changed(ROW, "messages.2.content.0.toolCallId", "x"), "is the id of no earlier call"),
        (changed(ROW, "messages.0.content.0", CALL), "only an assistant message has tool_calls"),
        (changed(ROW, "messages.2.content.0.output", [{"type": "media", "data": "x"}]), "only text can be read"),
        (changed(PAGE, "messages.1.content", "Something."), "says something else than the parts"),
        (changed(PAGE, "messages.1.parts.6", {"type": "data-chart", "data": {}}), "is what a page shows"),
        (changed(PAGE, "messages.1.parts.3.outputs", 1), r"messages\[1\].parts\[3\].outputs: unknown field"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, row: Any, problem: str) -> None:
    refused(tmp_path, row, f".*{problem}")


def test_a_first_request(tmp_path: Path) -> None:
    """Nothing in its messages tells this library's from others'."""
    row = {**ROW, "messages": [{"role": "user", "content": "What is a dog?"}], "toolChoice": "auto"}
    found = read_one(tmp_path, row)
    assert found.messages == conversation()[:1]
    assert [tool.to_json() for tool in found.tools] == [LOOKUP]
    named = {"role": "assistant", "tool_calls": [{"name": "lookup", "arguments": {"word": "dog"}}]}
    refused(tmp_path, changed(row, "messages.0", named), "toolChoice: unknown field", "auto")


def test_tools_by_names_that_are_words_of_this_format_too(tmp_path: Path) -> None:
    about = {"description": "Says it.", "inputSchema": {"jsonSchema": LOOKUP["parameters"]}}
    row = {**ROW, "messages": [{"role": "user", "content": "Go."}], "tools": {"name": about, "tools": about}}
    assert [tool.name for tool in read_one(tmp_path, row).tools] == ["name", "tools"]
