"""Rewards where other trainers ask for them: TRL's completions in all their shapes, verl's solutions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_jax.errors import DataError, UserError
from tl_jax.tooluse.readers.answers import answer_text
from tl_jax.tooluse.rewards.completions import read_case, reward_of
from tl_jax.tooluse.rewards.trl import irm_reward
from tl_jax.tooluse.rewards.verl import compute_score
from tl_jax.tooluse.schema import Case

WEATHER = {
    "name": "get weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
OSLO, BERGEN = {"city": "Oslo", "days": 2}, {"city": "Bergen"}


def row(*gold: dict[str, Any], kind: str = "alternatives") -> str:
    calls = [{"name": "get weather", "arguments": arguments} for arguments in gold]
    asked = [{"role": "user", "content": "Weather?"}]
    return json.dumps({"id": "1", "tools": [WEATHER], "messages": asked, "gold": [calls], "gold_kind": kind})


def called(*arguments: Any, content: Any = None, **more: Any) -> dict[str, Any]:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "get weather", "arguments": one}}
        for i, one in enumerate(arguments)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls, **more}


def parts(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "thinking", "thinking": "Oslo, then."}, *content]}


GOOGLES = {"name": "get weather", "args": OSLO, "id": "1"}
AMAZONS = {"name": "get weather", "input": OSLO, "toolUseId": "1"}
LANGCHAINS = {
    "type": "ai",
    "content": "",
    "tool_calls": [{"name": "get weather", "args": OSLO, "id": "1"}],
    "invalid_tool_calls": [],
    "response_metadata": {},
    "additional_kwargs": {"tool_calls": [1]},
    "name": None,
}
CALL_OF_RESPONSES = {"type": "function_call", "id": "fc", "name": "get weather", "arguments": json.dumps(OSLO)}
RESULT = {"role": "tool", "name": "get weather", "content": "dry", "tool_call_id": "c0"}
DONE = {"role": "assistant", "content": "It will be dry."}


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ([called(OSLO, content="")], 1.0),
        ([called(OSLO)], 1.0),
        (called(OSLO), 1.0),
        ([called(OSLO), RESULT, DONE], 1.0),
        ([called(OSLO), RESULT, called(BERGEN), RESULT, DONE], 1.0),
        ([called(json.dumps(OSLO))], 1.0),
        ([called(OSLO, content="<think>Oslo, then.</think>")], 1.0),
        ([called(OSLO, reasoning_content="Oslo, then.", refusal=None)], 1.0),
        ([called(OSLO, content=[{"type": "text", "text": ""}])], 1.0),
        (parts({"type": "tool_use", "id": "1", "name": "get weather", "input": OSLO}), 1.0),
        (parts({"type": "tool-call", "toolCallId": "1", "toolName": "get weather", "input": OSLO}), 1.0),
        (
            parts(
                {"type": "redacted_thinking", "data": "x"}, {"type": "tool_use", "name": "get weather", "input": OSLO}
            ),
            1.0,
        ),
        (
            {"tool_calls": [{"function": {"name": "get weather", "arguments": OSLO}, "extra_content": {"google": {}}}]},
            1.0,
        ),
        ({"tool_calls": [{"name": "get weather", "args": OSLO, "provider_specific_fields": {"thought": "x"}}]}, 1.0),
        ({"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"functionCall": GOOGLES}]}, 1.0),
        ({"role": "model", "parts": [{"text": "I look."}, {"functionCall": GOOGLES}]}, -2.0),
        ({"role": "assistant", "content": [{"reasoningContent": {}}, {"toolUse": AMAZONS}]}, 1.0),
        ([LANGCHAINS, {"type": "tool", "content": "dry", "tool_call_id": "1"}], 1.0),
        ({**LANGCHAINS, "content": [{"type": "tool_use", "id": "1", "name": "get weather", "input": OSLO}]}, 1.0),
        ({**LANGCHAINS, "content": [{**CALL_OF_RESPONSES, "call_id": "1"}]}, 1.0),
        ({**LANGCHAINS, "tool_calls": [], "additional_kwargs": {"function_call": GOOGLES}}, 1.0),
        ({"tool_calls": [{"id": [1], "function": {"name": "get weather", "arguments": OSLO}}]}, 1.0),
        (parts({"type": "tool_use", "id": "", **AMAZONS}) | {"tool_calls": [{**GOOGLES, "id": ""}]}, -2.0),
        ({**LANGCHAINS, "tool_calls": [], "invalid_tool_calls": [{"name": "get weather", "args": "{city"}]}, -2.0),
        (parts({"type": "text", "text": "Wait."}, {"type": "tool_use", "name": "get weather", "input": OSLO}), -2.0),
        (parts({"type": "tool_use", "id": "1", "name": "get weather"}), -0.5),
        ([{"role": "assistant", "content": ""}, called(OSLO)], 1.0),
        ([{"role": "assistant", "tool_calls": [{"name": "get weather", "args": OSLO, "type": "tool_call"}]}], 1.0),
        ([{"role": "assistant", "function_call": {"name": "get weather", "arguments": OSLO}}], 1.0),
        ([{"role": "assistant", "content": "get weather(city='Oslo', days=2)"}], 1.0),
        ([called(OSLO, audio={"id": "a", "data": "zz", "transcript": "x"})], 1.0),
        ([called(OSLO) | {"role": "Assistant"}], 1.0),
        ([called(OSLO) | {"role": "model"}], 1.0),
        ([{"role": "assistant", "tool_calls": json.dumps(called(OSLO)["tool_calls"])}], 1.0),
        ([{"role": "assistant", "tool_calls": [], "function_calls": "get weather(city='Oslo', days=2)"}], 1.0),
        ("get weather(city='Oslo', days=2)", 1.0),
        ([called({"city": "Oslo", "days": 3})], -0.25),
        ([called({"town": "Oslo", "days": 2})], -1.3),
        ([called(OSLO, content="I look it up.")], -2.0),
        ([called(OSLO, OSLO)], -2.0),
        ([called("{city: Oslo")], -2.0),
        ([called(["Oslo"])], -2.0),
        ([{"role": "assistant", "tool_calls": [{"function": {"arguments": OSLO}}]}], -2.0),
        ([{"role": "assistant", "tool_calls": [None, 7]}], -2.0),
        ([{"role": "assistant", "content": None}], -2.0),
        ([RESULT, called(OSLO)], -2.0),
        ([], -2.0),
        (None, -2.0),
    ],
)
def test_completions_of_all_shapes(completion: Any, value: float) -> None:
    assert irm_reward(completions=[completion], case=[row(OSLO)], prompts=["?"], trainer_state=None) == [value]
    assert compute_score("tools", completion, row(OSLO), {"index": 0}) == value


def test_a_call_whose_argument_is_a_text_as_it_is() -> None:
    tool = {"name": "run", "parameters": {"type": "object", "properties": {"input": {"type": "string"}}}}
    gold = [[{"name": "run", "arguments": {"input": "print(1)"}}]]
    case = {"id": "1", "tools": [tool], "messages": [{"role": "user", "content": "Go."}], "gold": gold}
    call = {"id": "1", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}
    assert reward_of({"role": "assistant", "tool_calls": [call]}, case).value == 1.0


def test_several_calls_at_once() -> None:
    both = row(OSLO, BERGEN, kind="parallel")
    completions = [[called(BERGEN, OSLO)], [called(OSLO), called(BERGEN)], [called(OSLO), RESULT, called(BERGEN)]]
    assert irm_reward(completions, [both] * 3) == [1.0, 1.0, -0.5]


def test_a_call_where_none_is_needed() -> None:
    refused = {"refusal": "I will not."}
    completions = [[DONE], [called(OSLO)], [called("{city: ")], [{"role": "assistant", **refused}]]
    completions += [[{"type": "ai", "content": "", "additional_kwargs": refused}]]
    assert irm_reward(completions, [row()] * 5) == [1.0, -1.5, -2.0, 1.0, 1.0]


def test_profiles() -> None:
    wrong = [called({"city": "Oslo", "days": 3})]
    assert irm_reward([wrong], [row(OSLO)], profile="binary") == [0.0]
    assert compute_score("", wrong, row(OSLO), profile="toolrl") == reward_of(wrong, row(OSLO), "toolrl").value
    with pytest.raises(UserError, match="papre"):
        irm_reward([wrong], [row(OSLO)], profile="papre")


def test_the_reference_scorer_sees_calls_as_it_was_written_for() -> None:
    """It knows the paper's text only."""
    asked = [{"role": "user", "content": "?"}]
    tool = {"name": "search", "parameters": {"properties": {"query": {"type": "string"}}}}
    gold = [[{"name": "search", "arguments": {"query": "love"}}]]
    case = json.dumps({"id": "1", "tools": [tool], "messages": asked, "gold": gold})
    for query, value in (("love", 1.0), ("hate", -0.25)):
        answer = {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": {"query": query}}}]}
        assert irm_reward([[answer]], [case], "reference") == [value]


def test_cases_of_all_shapes() -> None:
    """As JSON, as what `Case.to_json` writes, as it is, and as a column of structs has it: with nulls."""
    text = row(OSLO)
    case = read_case(text)
    padded = json.loads(text)
    padded["gold"][0][0]["arguments"]["unit"] = None
    padded["messages"][0]["tool_calls"] = None
    for shape in (text, json.dumps(case.to_json()), case, json.loads(text), padded):
        assert read_case(shape).gold == case.gold
    assert isinstance(case, Case)


@pytest.mark.parametrize("bad", ["{", "[]", '{"id": "1", "messages": []}', '{"id": "1", "gold": []}'])
def test_what_is_no_case(bad: str) -> None:
    with pytest.raises(DataError, match=r"^case"):
        irm_reward(["f()"], [bad])


def test_a_field_that_is_not_known_is_named() -> None:
    message = {"role": "assistant", "content": "", "tool_call": [{"name": "get weather", "arguments": OSLO}]}
    with pytest.raises(DataError, match=r"completion\[0\].tool_call: unknown field; did you mean 'tool_calls'"):
        irm_reward([[message]], [row(OSLO)])
    with pytest.raises(DataError, match=r"completion\[0\].type: must be 'message' or 'ai', not 'custom'"):
        reward_of([{"type": "custom", "custom": {}}], row(OSLO))
    with pytest.raises(DataError, match="completion: must be text or messages, not int"):
        answer_text(5)


def test_calls_and_what_an_api_answered_are_completions() -> None:
    message = called(OSLO)
    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    for completion in (message["tool_calls"], message["tool_calls"][0], whole):
        assert reward_of(completion, row(OSLO)).value == 1


def test_the_shared_script(shared_data: Path) -> None:
    script = shared_data.parent / "cases" / "trl_tools_reward.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert re.findall(r".+", done.stdout) == ["[1.0]"] * 3, done.stderr
