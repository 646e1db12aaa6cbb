"""API-Bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    changed,
    document,
    lines,
    tool,
)
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

APIBANK = {
    "requirement": " Wake me. ",
    "response": "Done.",
    "apis": [
        {
            "api_name": "ToolSearcher",
            "input": {"keywords": "alarm"},
            "output": {
                "api_name": "ToolSearcher",
                "output": {
                    "name": "AddAlarm",
                    "description": "Adds.",
                    "input_parameters": {
                        "time": {"type": "str", "description": "When."},
                        "days": {"type": "list(int)"},
                    },
                },
                "exception": None,
            },
        },
        {
            "api_name": "AddAlarm",
            "input": {"time": "7:00", "days": [1]},
            "output": {"api_name": "AddAlarm", "output": {"id": 1}, "exception": None},
        },
    ],
}


STEPS = [
    {"role": "User", "text": "Wake me at 7."},
    {"role": "AI", "text": "Let me see."},
    {
        "role": "API",
        "api_name": "AddAlarm",
        "param_dict": {"time": "7:00"},
        "result": {"output": {"id": 1}, "exception": None},
    },
    {
        "role": "API",
        "api_name": "AddAlarm",
        "param_dict": {"time": "7:05"},
        "result": {"output": None, "exception": "Full."},
    },
    {"role": "AI", "text": "Done, once."},
]


EXAMPLES = [APIBANK]


def test_a_dialogue_of_apibank(tmp_path: Path) -> None:
    path = lines(tmp_path / "Alarm-level-1-1.jsonl", *STEPS)
    (trajectory,) = read_trajectories(path)
    assert trajectory.id == f"apibank/{tmp_path.name}/Alarm-level-1-1"
    assert trajectory.messages == (
        Message("user", "Wake me at 7."),
        Message("assistant", "Let me see.", (Call("AddAlarm", {"time": "7:00"}),)),
        Message("tool", '{"id": 1}', name="AddAlarm"),
        Message("assistant", tool_calls=(Call("AddAlarm", {"time": "7:05"}),)),
        Message("tool", "Full.", name="AddAlarm", error=True),
        Message("assistant", "Done, once."),
    )
    properties = {"time": {"type": "string"}}
    inferred = Tool("AddAlarm", "", {"type": "object", "properties": properties, "required": ["time"]})
    assert (trajectory.tools, trajectory.meta) == ((inferred,), {"tools_inferred": ["AddAlarm"]})
    described = tool("AddAlarm", "time", time="string")
    document(tmp_path / "tools.json", [described])
    (trajectory,) = read_trajectories(path)
    assert (trajectory.tools, trajectory.meta) == ((Tool.from_json(described),), {})


def test_level_three_of_apibank(tmp_path: Path) -> None:
    (trajectory,) = read_trajectories(document(tmp_path / "level-3.json", [APIBANK]))
    assert trajectory.messages == (
        Message("user", "Wake me."),
        Message("assistant", tool_calls=(Call("AddAlarm", {"time": "7:00", "days": [1]}),)),
        Message("tool", '{"id": 1}', name="AddAlarm"),
        Message("assistant", "Done."),
    )
    (offered,) = trajectory.tools
    assert (offered.description, offered.required) == ("Adds.", ("time", "days"))
    assert offered.properties == {
        "time": {"type": "string", "x-type": "str", "description": "When."},
        "days": {"type": "array", "items": {"type": "integer"}, "x-type": "list(int)"},
    }


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([*STEPS, {"role": "Bot", "text": ""}], r"6: role: unknown role 'Bot'"),
        ([*STEPS, {"role": "API", "param_dict": {}}], r"6: api_name: is missing"),
        ([*STEPS, {"role": "API", "api_name": "f", "param_dict": "f("}], r"6: param_dict: is neither JSON"),
        ([changed(APIBANK, "apis.1.input", [1])], r"1: apis\[1\]\.input: must be a JSON object, not list"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:" + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", *rows), "apibank"))
