"""Google's Gemini API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, read_one, refused
from tl_jax.tooluse.schema import Message

DECLARED = {
    "name": "lookup",
    "description": "Does lookup.",
    "parameters": {
        "type": "OBJECT",
        "properties": {
            "word": {"type": "STRING", "description": "The word."},
            "limit": {"type": "INTEGER", "description": "The limit."},
        },
        "required": ["word"],
    },
}
ROW: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [DECLARED]}],
    "generationConfig": {"temperature": 0},
    "contents": [
        {"role": "user", "parts": [{"text": "What is a dog?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Look it up.", "thought": True},
                {"text": "I look."},
                {"functionCall": {"name": "lookup", "args": {"word": "dog"}}, "thoughtSignature": "s"},
            ],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "lookup", "response": {"is": "a pet"}}}]},
        {"role": "model", "parts": [{"text": "A pet."}]},
    ],
}
EXAMPLES = [ROW]
SNAKE = {
    "functionCall": "function_call",
    "functionResponse": "function_response",
    "thoughtSignature": "thought_signature",
}
SNAKE |= {"systemInstruction": "system_instruction", "functionDeclarations": "function_declarations"}


def in_snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {SNAKE.get(key, key): in_snake_case(item) for key, item in value.items()}
    return [in_snake_case(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("row", [ROW, in_snake_case(ROW)])
def test_parts(tmp_path: Path, row: Any) -> None:
    found = read_one(tmp_path, row)
    system, question, call, result, answer = found.messages
    assert (system, question, call, answer) == (
        Message("system", "Be brief."),
        *(conversation("Look it up.")[i] for i in (0, 1, 3)),
    )
    assert result == Message("tool", '{"is": "a pet"}', name="lookup")
    (tool,) = found.tools
    assert tool.to_json() == LOOKUP


def test_results_follow_their_calls_by_name(tmp_path: Path) -> None:
    contents = [
        {"parts": [{"text": "Go."}]},
        {"role": "model", "parts": [{"functionCall": {"name": name}} for name in ("f", "g")]},
        {"role": "function", "parts": [{"functionResponse": {"name": n, "response": {"n": n}}} for n in ("g", "f")]},
    ]
    found = read_one(tmp_path, {"contents": contents})
    assert [(message.name, message.content) for message in found.messages[2:]] == [
        ("f", '{"n": "f"}'),
        ("g", '{"n": "g"}'),
    ]


def test_ids_and_errors(tmp_path: Path) -> None:
    row = changed(ROW, "contents.1.parts.2.functionCall.id", "x")
    row = changed(row, "contents.2.parts.0.functionResponse", {"id": "x", "response": {"error": "gone"}})
    result = read_one(tmp_path, row).messages[3]
    assert result == Message("tool", '{"error": "gone"}', name="lookup", call_id="x", error=True)


def test_an_error_that_is_null_is_none(tmp_path: Path) -> None:
    row = changed(ROW, "contents.2.parts.0.functionResponse.response", {"error": None})
    result = read_one(tmp_path, row).messages[3]
    assert (result.role, result.error) == ("tool", False)


@pytest.mark.parametrize("name", ["history", "messages"])
def test_turns_under_another_name(tmp_path: Path, name: str) -> None:
    row = {name if key == "contents" else key: value for key, value in ROW.items()}
    for shape in (row, {"contents": None, **row}):
        assert read_one(tmp_path, shape).messages == read_one(tmp_path, ROW).messages


def test_what_the_api_answered(tmp_path: Path) -> None:
    *contents, answer = ROW["contents"]
    answered = [{"content": answer, "finishReason": "STOP", "index": 0}]
    row = {**ROW, "contents": contents, "candidates": answered, "usageMetadata": {}, "modelVersion": "m"}
    assert read_one(tmp_path, row).messages == read_one(tmp_path, ROW).messages
    refused(tmp_path, {**row, "candidates": answered * 2}, "candidates: holds 2 answers")
    by_nobody = changed(row, "candidates.0.content", {"parts": answer["parts"]})
    assert read_one(tmp_path, by_nobody).messages == read_one(tmp_path, ROW).messages


def alone(value: Any) -> Any:
    """The row with every list of one object as this object, but for the words of schemas."""
    if isinstance(value, dict):
        return {key: item if key == "parameters" else alone(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = [alone(item) for item in value]
    return items[0] if len(items) == 1 else items


def test_what_stands_alone_is_as_good_as_a_list(tmp_path: Path) -> None:
    row = alone(ROW)
    assert row["tools"]["functionDeclarations"]["name"] == "lookup"
    assert row["contents"][0] == {"role": "user", "parts": {"text": "What is a dog?"}}
    assert read_one(tmp_path, row) == read_one(tmp_path, ROW)
    (question, *rest) = ROW["contents"]
    one = {**ROW, "contents": question, "candidates": [{"content": rest[-1]}]}
    assert [message.content for message in read_one(tmp_path, one).messages] == [
        "Be brief.",
        "What is a dog?",
        "A pet.",
    ]


@pytest.mark.parametrize("parts", ["What is a dog?", ["What is ", "a dog?"], ["What is ", {"text": "a dog?"}]])
def test_texts_as_parts(tmp_path: Path, parts: Any) -> None:
    row = changed(changed(ROW, "contents.0.parts", parts), "systemInstruction", ["Be ", {"text": "brief."}])
    assert read_one(tmp_path, row) == read_one(tmp_path, ROW)
    said = [parts if isinstance(parts, str) else "What is a dog?", *ROW["contents"][1:]]
    assert read_one(tmp_path, {**ROW, "contents": said}) == read_one(tmp_path, ROW)


def test_bad_rows(tmp_path: Path) -> None:
    refused(
        tmp_path, changed(ROW, "contents.0.parts.0", {"inlineData": {}}), r"contents\[0\]\.parts\[0\]\.inlineData: unk"
    )
    refused(tmp_path, changed(ROW, "contents.0.parts", 5), r"contents\[0\]\.parts: must be a JSON object, not int")
    refused(tmp_path, changed(ROW, "contents.0.role", "bot"), r"contents\[0\]\.role: unknown role 'bot'")
    refused(tmp_path, changed(ROW, "tools.0", {"googleSearch": {}}), r"tools\[0\]\.googleSearch: is a tool that its")
    refused(tmp_path, changed(ROW, "contents.1.parts.2.functionCall.arg", {}), r"contents\[1\].*\.arg: .*'args'")


@pytest.mark.parametrize("name", ["response", "responseJsonSchema", "response_json_schema"])
def test_what_a_function_answers_is_kept(tmp_path: Path, name: str) -> None:
    row = changed(ROW, "tools.0.functionDeclarations.0", {**DECLARED, name: {"type": "object"}})
    (tool,) = read_one(tmp_path, row).tools
    assert tool.to_json() == {**LOOKUP, f"x-{name}": {"type": "object"}}
