"""ToolRL's RLLA data in verl's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import changed, lines, read_one, refused
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, Message

KINDS = {"kind": {"type": "str, optional", "description": "Which."}}
PROMPT = (
    "You are helpful.\n\n**Available Tools**\nIn your response, you can use the following tools:\n"
    f"1. Name: Tide Table API\nDescription: Tides.\nOf the sea.\nParameters: {json.dumps(KINDS)}\n"
    "2. Name: f\nDescription: F.\nParameters: {}\n\n**Output Format**\n..."
)
GOLD = (
    "<think> hm </think>\n<tool_call>\n"
    '{"name": "Tide Table API", "parameters": {"kind": "high"}}\n{"name": "f", "parameters": {}}\n</tool_call>'
)
HISTORY = (
    "**Dialogue Records History**\n<user> Tides? </user>\n\n<think> one </think>\n<tool_call>\n"
    '{"name": "f", "parameters": {}}\n</tool_call>\n<obs> none </obs>\n<think> two </think>\n'
    "<response> No. </response>\n<user> And now? </user>"
)
ROW: dict[str, Any] = {
    "data_source": "rlla",
    "prompt": [{"role": "system", "content": PROMPT}, {"role": "user", "content": HISTORY}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": GOLD},
    "extra_info": {"split": "train", "index": 0},
}
EXAMPLES = [ROW]
CALLS = (Call("Tide Table API", {"kind": "high"}), Call("f"))


def test_a_trajectory(tmp_path: Path) -> None:
    found = read_one(tmp_path, ROW)
    assert [tool.name for tool in found.tools] == ["Tide Table API", "f"]
    assert found.tools[0].description == "Tides.\nOf the sea."
    assert found.tools[0].properties["kind"]["type"] == "string"
    assert found.messages == (
        Message("user", "Tides?"),
        Message("assistant", "", (Call("f"),), weight=0.0, reasoning="one"),
        Message("tool", "none", name="f"),
        Message("assistant", "No.", weight=0.0, reasoning="two"),
        Message("user", "And now?"),
        Message("assistant", "", CALLS, reasoning="hm"),
    )


def test_a_case(tmp_path: Path) -> None:
    text = changed(ROW, "reward_model.ground_truth", "<think> x </think>\n<response> Hi. </response>")
    with_calls, without = read_cases(lines(tmp_path / "data.jsonl", ROW, changed(text, "prompt.1.content", "Hi.")))
    assert (with_calls.gold, with_calls.gold_kind, len(with_calls.messages)) == ((CALLS,), "parallel", 5)
    assert (without.gold, without.messages) == (((),), (Message("user", "Hi."),))


def test_bad_rows(tmp_path: Path) -> None:
    refused(tmp_path, changed(ROW, "reward_model.foo", 1), r"reward_model\.foo: unknown field")
    refused(tmp_path, changed(ROW, "prompt.1.content", HISTORY + " and?"), r"prompt\[1\]\.content: has text outside")
    row = changed(ROW, "prompt.0.content", "**Available Tools**\n1. Name: f\nDescription: F.")
    refused(tmp_path, row, r"prompt\[0\]\.content: tool 0: must have a name, 'Description:' and 'Parameters:'")
    refused(
        tmp_path, changed(ROW, "prompt.1.content", HISTORY + "<obs> open"), r"prompt\[1\]\.content: has text outside"
    )
    refused(tmp_path, changed(ROW, "prompt.0.content", "**Available Tools**"), r"prompt\[0\]\.content: lists no tool")
    refused(tmp_path, changed(ROW, "reward_model.ground_truth", f"{GOLD} or"), r"reward_model\.ground_truth: has text")
