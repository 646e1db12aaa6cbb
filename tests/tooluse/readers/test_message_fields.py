"""What a message says under all the names and in all the shapes that are in use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.chat import CALL, DONE, RESULT, said, turn
from tests.tooluse.readers.helpers import read_one
from tl_jax.tooluse.schema import Call, DataError, Message


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"weight": 0}, 0.0),
        ({"weight": 0.5}, 0.5),
        ({"loss_weight": 0.0}, 0.0),
        ({"loss": False}, 0.0),
        ({"loss": True}, 1.0),
        ({"loss": 0.25}, 0.25),
        ({"train": False}, 0.0),
        ({"training": True}, 1.0),
        ({"mask": True}, 0.0),
        ({"masked": False}, 1.0),
        ({"mask": True, "loss": False, "weight": 0}, 0.0),
        ({}, None),
        ({"loss": None}, None),
    ],
)
def test_every_name_of_a_weight(tmp_path: Path, fields: dict[str, Any], weight: float | None) -> None:
    assert [message.weight for message in said(tmp_path, DONE | fields)] == [weight]


def test_weights_that_are_none(tmp_path: Path) -> None:
    for fields, problem in (
        ({"loss": False, "weight": 1}, "weight: says something else than 'loss'"),
        ({"mask": 1}, r"mask: must be true \(no target\) or false; write numbers as weight"),
        ({"loss": "no"}, "loss: must be a finite number"),
        ({"train": -1}, "train: must be a finite number >= 0"),
    ):
        with pytest.raises(DataError, match=rf"messages\[1\]\.{problem}"):
            said(tmp_path, DONE | fields)
    assert said(tmp_path, {"role": "user", "content": "?", "train": False}, DONE)[0].weight is None
    with pytest.raises(DataError, match=r"messages\[1\]: only an assistant message has tool_calls or weight"):
        said(tmp_path, {"role": "user", "content": "?", "train": True}, DONE)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"is_error": True}, True),
        ({"isError": True}, True),
        ({"error": True}, True),
        ({"status": "error"}, True),
        ({"status": "success"}, False),
        ({"error": False, "is_error": False}, False),
        ({"error": None}, False),
        ({"error": ""}, False),
    ],
)
def test_every_name_of_a_failed_call(tmp_path: Path, fields: dict[str, Any], error: bool) -> None:
    result = {"role": "tool", "content": "10"}
    assert said(tmp_path, turn({"name": "f"}), result | fields)[1] == Message("tool", "10", error=error)


def test_an_error_that_is_text(tmp_path: Path) -> None:
    calling = turn({"name": "f"})
    assert said(tmp_path, calling, {"role": "tool", "content": "", "error": "no net"})[1] == Message(
        "tool", "no net", error=True
    )
    for fields, problem in (
        ({"error": 3}, "error: must be true, false or text"),
        ({"status": "odd"}, "status: must be"),
    ):
        with pytest.raises(DataError, match=rf"messages\[2\]\.{problem}"):
            said(tmp_path, calling, {"role": "tool", "content": "", **fields})
    with pytest.raises(DataError, match=r"messages\[1\]: only a tool message has call_id or error"):
        said(tmp_path, DONE | {"error": True})


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "thinking"])
def test_thoughts_and_refusals_are_no_part_of_the_answer(tmp_path: Path, name: str) -> None:
    (message,) = said(tmp_path, DONE | {name: "Hm."})
    assert message == Message("assistant", "Done.", reasoning="Hm.")
    assert said(tmp_path, DONE | {name: ""}) == (Message("assistant", "Done."),)
    refused = Message("assistant", "", refusal="No.")
    assert said(tmp_path, {"role": "assistant", "content": None, "refusal": "No."}) == (refused,)
    part = {"type": "refusal", "refusal": "No."}
    assert said(tmp_path, {"role": "assistant", "content": [part]}) == (refused,)


SIGNED = {"google": {"thought_signature": "x"}}


@pytest.mark.parametrize(
    ("beside", "reasoning"),
    [
        ({"annotations": [], "audio": None, "refusal": None, "finish_reason": "tool_calls", "prefix": False}, None),
        ({"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "format": "x"}]}, "Hm."),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm.", "index": 0}]}, "Hm."),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, None),
        ({"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]}, "Hm."),
        ({"content": None, "tool_plan": "Hm."}, "Hm."),
        ({"tool_calls": [{**CALL, "extra_content": SIGNED}], "extra_content": SIGNED}, None),
        ({"tool_calls": [{**CALL, "function": {**CALL["function"], "provider_specific_fields": SIGNED}}]}, None),
        ({"content": [{"type": "redacted_thinking", "data": "x"}]}, None),
        ({"content": [{"type": "reasoning", "id": "rs", "index": 0, "extras": {"signature": "s"}}]}, None),
        ({"content": [{"type": "reasoning", "reasoning": None}, {"type": "thinking", "signature": "s"}]}, None),
        ({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}]}, "Hm."),
        ({"reasoning_details": [{"type": "reasoning.text", "text": None, "signature": "s"}]}, None),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}]}, "Hm."),
        (
            {"content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "", "annotations": []}]},
            "Hm.",
        ),
    ],
    ids=str,
)
def test_what_apis_say_beside_an_answer(tmp_path: Path, beside: dict[str, Any], reasoning: str | None) -> None:
    message, result, _ = said(tmp_path, {**turn(CALL), **beside}, RESULT, DONE)
    assert message == Message("assistant", "", (Call("lookup", {"word": "dog"}),), reasoning=reasoning)
    assert result.call_id == "c1"


@pytest.mark.parametrize(
    "message",
    [
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "A"},
            ]
        },
        {
            "reasoning_content": "Hm.",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "A"}],
        },
    ],
)
def test_thoughts_as_parts_are_not_anthropics_alone(tmp_path: Path, message: dict[str, Any]) -> None:
    assert said(tmp_path, {"role": "assistant", **message}) == (Message("assistant", "A", reasoning="Hm."),)


def test_an_answer_that_was_spoken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"messages\[1\]\.audio: only text can be read"):
        said(tmp_path, {**DONE, "audio": {"data": "x"}})


def test_where_a_text_comes_from_is_no_text(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "A "},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": "pet"},
    ]
    assert said(tmp_path, {"role": "assistant", "content": parts}) == (Message("assistant", "A pet"),)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"is": "a pet"}, '{"is": "a pet"}'),
        ([{"is": "a pet"}, 1], '[{"is": "a pet"}, 1]'),
        ([{"type": "document", "document": {"data": "a pet"}}], "a pet"),
        ([{"type": "text", "text": "a pet"}], "a pet"),
    ],
)
def test_results_that_are_no_text(tmp_path: Path, content: Any, text: str) -> None:
    assert said(tmp_path, turn(CALL), {**RESULT, "content": content})[1].content == text
    if isinstance(content, dict):
        with pytest.raises(DataError, match=r"messages\[1\]\.content: must be text, not dict"):
            said(tmp_path, {"role": "assistant", "content": content})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (["Paris", "London"], '["Paris", "London"]'),
        ({"type": "error", "message": "x"}, '{"type": "error", "message": "x"}'),
        ({"text": "hello", "score": 1}, '{"text": "hello", "score": 1}'),
        ([{"type": "flight", "id": 1}], '[{"type": "flight", "id": 1}]'),
        ([{"a": 1}, "x"], '[{"a": 1}, "x"]'),
        ([{"type": "text", "text": "a"}, {"type": "flight"}], '[{"type": "text", "text": "a"}, {"type": "flight"}]'),
        ([], ""),
        ([{"text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
    ],
)
def test_results_that_look_like_parts(tmp_path: Path, content: Any, text: str) -> None:
    assert said(tmp_path, turn(CALL), {**RESULT, "content": content})[1].content == text


def test_pictures_in_results_are_refused(tmp_path: Path) -> None:
    for part in ({"type": "image_url", "image_url": {"url": "x"}}, {"type": "image", "source": {}}):
        with pytest.raises(DataError, match=r"messages\[2\]\.content\[0\]: only parts of text"):
            said(tmp_path, turn(CALL), {**RESULT, "content": [part]})


@pytest.mark.parametrize(
    "result",
    [
        {"content": {"content": [{"type": "text", "text": "a pet", "_meta": {}}], "isError": True}},
        {"content": [{"type": "text", "text": "a pet"}], "isError": True, "structuredContent": {"is": "a pet"}},
    ],
)
def test_what_mcp_servers_answer_to_a_call(tmp_path: Path, result: dict[str, Any]) -> None:
    call, answer = turn({"id": "1", "name": "f"}), {"role": "tool", "tool_call_id": "1"}
    assert said(tmp_path, call, {**answer, **result})[1] == Message("tool", "a pet", name="f", call_id="1", error=True)
    only = {**answer, "content": [], "structuredContent": {"is": "a pet"}}
    assert said(tmp_path, call, only)[1].content == '{"is": "a pet"}'
    only = {**answer, "content": {"content": [], "structuredContent": {"is": "a pet"}}}
    assert said(tmp_path, call, only)[1].content == '{"is": "a pet"}'
    for other in ({"content": []}, {"content": [{"type": "file", "name": "a"}]}, {"content": [{"text": "a"}]}):
        assert said(tmp_path, call, {**answer, "content": other})[1].content == json.dumps(other)


SYSTEM, ASSISTANT = ("system", "developer"), ("assistant", "model", "gpt", "ai", "bot", "chatbot", "ChatGPT")
CALLING = ("function_call", "tool_call", "function-call", "Tool_Call")
TOOL = ("tool", "function", "ipython", "Environment", "observation")
TOOL += ("tool_response", "tool-response", "function_response", "function-response")


@pytest.mark.parametrize("field", ["from", "role"])
@pytest.mark.parametrize(
    ("names", "at"), [(SYSTEM, 0), (("user", "Human"), 1), (CALLING, 2), (TOOL, 3), (ASSISTANT, 4)], ids=str
)
def test_every_name_of_who_speaks(tmp_path: Path, field: str, names: Sequence[str], at: int) -> None:
    call = json.dumps({"name": "lookup", "arguments": {"word": "dog"}})
    turns = [
        ("system", "Be brief."),
        ("user", "Go."),
        ("function_call", call),
        ("tool", "a pet"),
        ("assistant", "Done."),
    ]
    for name in names:
        spoken = [(name if index == at else speaker, text) for index, (speaker, text) in enumerate(turns)]
        if field == "from":
            row: Any = {"conversations": [{"from": speaker, "value": text} for speaker, text in spoken]}
        else:
            row = {"messages": [{"role": speaker, "content": text} for speaker, text in spoken]}
        assert read_one(tmp_path, row).messages == (
            Message("system", "Be brief."),
            Message("user", "Go."),
            Message("assistant", "", (Call("lookup", {"word": "dog"}),)),
            Message("tool", "a pet", name="lookup"),
            Message("assistant", "Done."),
        )
