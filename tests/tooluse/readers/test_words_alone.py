"""Words that look like results, calls, thoughts or ends of turns, and are none: they stay what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Message

CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"key": "A"}'}}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"properties": {"key": {"type": "string"}}}}}


def messages(tmp_path: Path, *said: dict[str, Any], tools: bool = True) -> tuple[Message, ...]:
    file = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "A?"}, *said]} | ({"tools": [TOOL]} if tools else {})
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (found,) = read_trajectories(file)
    return found.messages[1:]


@pytest.mark.parametrize("tools", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        '```python\nprint("Hello")\n```\n\n```output\nHello\n```',
        "round(2.5)\n<output>2</output>\nBankers round so.",
        "max(1, 2)\nObservation: it is 2",
        "Use it like this:\nlookup(key='A')\nObservation: it returns rows",
        "Experiment(1)\nObservation: The liquid turned blue.",
        "<think>...</think> is R1's tag.",
        "<thinking>one step</thinking><answer>5</answer>",
        "<call>[phone number]</call>",
        "Mistral writes [INST] and [/INST].",
    ],
)
def test_an_answer_stays_an_answer(text: str, tools: bool, tmp_path: Path) -> None:
    assert messages(tmp_path, {"role": "assistant", "content": text}, tools=tools) == (Message("assistant", text),)


@pytest.mark.parametrize(
    "text",
    [
        "Tool output: is this right?",
        "My log:\n<tool_response>\n1\n</tool_response>\nIs that ok?",
        "```output\n1\n```",
        "<result>1</result>",
    ],
)
def test_a_user_speaks_after_the_last_result(text: str, tmp_path: Path) -> None:
    call, result = {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1", "tool_call_id": "c1"}
    last = messages(tmp_path, call, result, {"role": "user", "content": text}, {"role": "assistant", "content": "Yes."})
    assert last[2:] == (Message("user", text), Message("assistant", "Yes."))


@pytest.mark.parametrize(
    "text",
    [
        "Observation: Hemoglobin 13.2 g/dL",
        "Tool results: 5 tools match 'hammer'",
        "Call id: 77\nObservation: customer was angry",
    ],
)
def test_a_result_of_a_call_with_an_id_keeps_its_words(text: str, tmp_path: Path) -> None:
    call, result = {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": text, "tool_call_id": "c1"}
    assert messages(tmp_path, call, result)[1].content == text


@pytest.mark.parametrize("texts", [("A <s>b</s>", "B <s>c</s>"), ("</s>", "</s>")])
def test_what_is_struck_out_ends_no_turn(texts: tuple[str, str], tmp_path: Path) -> None:
    first, last = ({"role": "assistant", "content": text} for text in texts)
    found = messages(tmp_path, first, {"role": "user", "content": "And?"}, last)
    assert (found[0].content, found[2].content) == texts


@pytest.mark.parametrize(
    ("parts", "text"), [(["a\n", "b"], "a\nb"), (["", "b"], "b"), (["10", "11"], "10\n11"), (["a\n"], "a\n")]
)
def test_parts_of_a_result_are_lines(parts: list[str], text: str, tmp_path: Path) -> None:
    content = [{"type": "text", "text": part} for part in parts]
    call = {"role": "assistant", "tool_calls": [CALL]}
    assert messages(tmp_path, call, {"role": "tool", "content": content, "tool_call_id": "c1"})[1].content == text


def test_results_of_messages_of_calls_right_after_one_another(tmp_path: Path) -> None:
    """The second result is the user's words, and still one."""
    second = {**CALL, "id": "c2"}
    calls = [{"role": "assistant", "tool_calls": [call]} for call in (CALL, second)]
    found = messages(
        tmp_path,
        *calls,
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "user", "content": "Tool output: 2"},
    )
    assert [(one.role, one.content) for one in found[2:]] == [("tool", "1"), ("tool", "2")]
