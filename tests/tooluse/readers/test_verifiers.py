"""Rows of verifiers and prime-rl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import LOOKUP, changed, conversation, lines, read_one, refused
from tl_jax.tooluse.readers import holds_cases, read_cases
from tl_jax.tooluse.schema import Message, Tool

CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}
COMPLETION = [
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL], "reasoning_content": "Look it up."},
    {"role": "tool", "tool_call_id": "c1", "content": "a pet"},
    {"role": "assistant", "content": "A pet."},
]
ROW: dict[str, Any] = {
    "example_id": 3,
    "prompt": [{"role": "user", "content": "What is a dog?"}],
    "completion": COMPLETION,
    "answer": "pet",
    "task": "dictionary",
    "reward": 1.0,
    "info": {"oai_tools": [{"type": "function", "function": LOOKUP}], "kind": "easy"},
}
EXAMPLES = [ROW]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"info": json.dumps(ROW["info"])},
        {"info": {"oai_tools": json.dumps([LOOKUP]), "kind": "easy"}},
        {"info": {"kind": "easy"}, "tool_defs": [LOOKUP]},
    ],
)
def test_a_trajectory(tmp_path: Path, change: Any) -> None:
    found = read_one(tmp_path, {**ROW, **change})
    assert (found.tools, found.messages) == ((Tool.from_json(LOOKUP),), conversation("Look it up."))
    about = {"example_id": 3, "answer": "pet", "task": "dictionary", "reward": 1.0, "info": {"kind": "easy"}}
    assert found.meta == about


def test_calls_as_json_text(tmp_path: Path) -> None:
    row = changed(ROW, "completion.0.tool_calls", [json.dumps(CALL)])
    assert read_one(tmp_path, row) == read_one(tmp_path, ROW)
    refused(
        tmp_path, changed(row, "completion.0.tool_calls.0", "lookup"), r"completion\[0\]\.tool_calls\[0\]: is neither"
    )


def test_answers_in_the_prompt_are_no_targets(tmp_path: Path) -> None:
    prompt = [*ROW["prompt"], {"role": "assistant", "content": "What?"}, {"role": "user", "content": "A dog!"}]
    messages = read_one(tmp_path, {**ROW, "prompt": prompt}).messages
    assert messages[1] == Message("assistant", "What?", weight=0.0)
    assert messages[3].weight is None


def test_without_a_completion_it_is_a_case(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {**ROW, "completion": None})
    assert holds_cases(path)
    (case,) = read_cases(path)
    assert (case.messages, case.gold, case.gold_kind) == ((Message("user", "What is a dog?"),), (), "none")
    assert case.meta["answer"] == "pet"
    refused(tmp_path, {**ROW, "completion": None}, "completion: is missing")


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, changed(ROW, "completion.1.foo", 1), r"completion\[1\]\.foo: unknown field")
    refused(tmp_path, {**ROW, "tools": [{"name": "g"}]}, r"info\.oai_tools: other tools are offered elsewhere")
    refused(tmp_path, {**ROW, "info": "[]"}, "info: must be a JSON object")


def test_what_trl_hands_to_the_template(tmp_path: Path) -> None:
    given = {"xml_tools": [json.dumps(LOOKUP)], "enable_thinking": False}
    found = read_one(tmp_path, {"prompt": ROW["prompt"], "completion": COMPLETION, "chat_template_kwargs": given})
    assert (found.tools, found.messages[1:]) == ((Tool.from_json(LOOKUP),), conversation("Look it up.")[1:])
