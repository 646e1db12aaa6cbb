"""ToolBench, ToolTalk, API-Bank and tau-bench: recorded runs of tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    APIBANK,
    LOOKUP,
    TAU_BENCH,
    TOOLBENCH,
    TOOLLLAMA,
    TOOLTALK,
    document,
    lines,
    tool,
)
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool, Trajectory

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


def test_the_path_of_a_toolbench_answer(tmp_path: Path) -> None:
    (trajectory,) = read_trajectories(document(tmp_path / "10_DFS.json", TOOLBENCH))
    assert trajectory.id == "10_DFS"
    assert [item.name for item in trajectory.tools] == ["lookup"]
    assert trajectory.messages == (
        Message("user", "Find a dog."),
        Message("assistant", "I look it up.", (Call("lookup", {"word": "dog"}),)),
        Message("tool", '{"error": "", "response": "a pet"}', name="lookup"),
        Message("assistant", tool_calls=(Call("Finish"),)),
    )
    assert trajectory.meta == {"query": "Find a dog.", "valid_data": True}


def test_a_training_row_of_toolllama(tmp_path: Path) -> None:
    (trajectory,) = read_trajectories(document(tmp_path / "train.json", [TOOLLLAMA]))
    assert (trajectory.id, trajectory.meta) == ("train:0", {"source_id": "Step 4: Find a dog."})
    assert trajectory.tools == (Tool.from_json(LOOKUP),)
    assert trajectory.messages == (
        Message("user", "Find a dog."),
        Message("assistant", "", (Call("lookup"),)),
        Message("tool", "word is missing", name="lookup"),
        Message("assistant", "Again.", (Call("lookup", {"word": "dog"}),)),
    )


def test_a_dialogue_of_apibank(tmp_path: Path) -> None:
    path = lines(tmp_path / "Alarm-level-1-1.jsonl", *STEPS)
    (trajectory,) = read_trajectories(path)
    assert trajectory.id == f"apibank/{tmp_path.name}/Alarm-level-1-1"
    assert trajectory.messages == (
        Message("user", "Wake me at 7."),
        Message("assistant", "Let me see.", (Call("AddAlarm", {"time": "7:00"}),)),
        Message("tool", '{"id": 1}', name="AddAlarm"),
        Message("assistant", tool_calls=(Call("AddAlarm", {"time": "7:05"}),)),
        Message("tool", "Full.", name="AddAlarm"),
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


def test_a_history_of_tau_bench(tmp_path: Path) -> None:
    other = {**TAU_BENCH, "trial": 2, "traj": [{"role": "user", "content": "Hi."}]}
    path = document(tmp_path / "gpt-4o-airline.json", [TAU_BENCH, other])
    first, second = read_trajectories(path)
    assert (first.id, second.id) == ("tau_bench/3/1", "tau_bench/3/2")
    assert first.messages == (
        Message("system", "Policy."),
        Message("user", "Cancel it."),
        Message("assistant", tool_calls=(Call("cancel", {"id": "X1"}),)),
        Message("tool", "Error: not found", name="cancel"),
        Message("assistant", "It does not exist."),
    )
    assert [item.name for item in second.tools] == ["cancel"]  # the tools of the whole file
    assert first.meta == {"reward": 0.0, "task_id": 3, "trial": 1, "tools": "inferred from the calls"}
    document(tmp_path / "gpt-4o-airline.tools.json", [{"type": "function", "function": LOOKUP}])
    assert [item.tools for item in read_trajectories(path)] == [(Tool.from_json(LOOKUP),)] * 2


def test_a_conversation_of_tooltalk(tmp_path: Path) -> None:
    (trajectory,) = read_trajectories(document(tmp_path / "Login-easy.json", TOOLTALK))
    assert (trajectory.id, trajectory.meta) == ("tooltalk/Login-easy", {"scenario": "A day."})
    assert trajectory.messages == (
        Message("user", "Log me in."),
        Message("assistant", tool_calls=(Call("Login", {"user": "a"}),)),
        Message("tool", "Unknown user", name="Login"),
        Message("assistant", tool_calls=(Call("Login", {"user": "b", "n": 2}),)),
        Message("tool", '{"ok": true}', name="Login"),
        Message("assistant", "You are in."),
    )
    (inferred,) = trajectory.tools
    assert inferred.parameters == {
        "type": "object",
        "properties": {"user": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["user"],
    }


def changed(row: Any, way: str, value: Any) -> Any:
    """A copy of the row with ``value`` at ``way``, such as ``traj.2.content``."""
    row = json.loads(json.dumps(row))
    target, *keys = row, *(int(key) if key.isdigit() else key for key in way.split("."))
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    return row


@pytest.mark.parametrize(
    ("rows", "format", "problem"),
    [
        (
            [TOOLLLAMA, changed(TOOLLLAMA, "conversations.2.value", "Action: f\nAction Input: {a}")],
            "toolbench",
            r"2: conversations\[2\]\.value: Action Input: is neither JSON nor a Python literal",
        ),
        (
            [changed(TOOLLLAMA, "conversations.1.from", "alien")],
            "toolbench",
            r"1: conversations\[1\]\.from: unknown speaker",
        ),
        (
            [changed(TOOLLLAMA, "conversations.0.value", "x")],
            "toolbench",
            r"1: conversations\[0\]\.value: has no list of tools",
        ),
        (
            [changed(TOOLBENCH, "answer_generation.train_messages.1.3.function_call.arguments", "{")],
            "toolbench",
            r"1: answer_generation\.train_messages\[1\]\[3\]\.tool_calls\[0\]\.function\.arguments: is not JSON",
        ),
        ([*STEPS, {"role": "Bot", "text": ""}], "apibank", r"6: role: unknown role 'Bot'"),
        ([*STEPS, {"role": "API", "param_dict": {}}], "apibank", r"6: api_name: is missing"),
        ([*STEPS, {"role": "API", "api_name": "f", "param_dict": "f("}], "apibank", r"6: param_dict: is neither JSON"),
        ([changed(APIBANK, "apis.1.input", [1])], "apibank", r"1: apis\[1\]\.input: must be a JSON object, not list"),
        (
            [changed(TAU_BENCH, "traj.3.tool_call_id", "b")],
            "tau-bench",
            r"1: traj\[3\]\.tool_call_id: 'b' is the id of no",
        ),
        ([changed(TAU_BENCH, "traj.1.role", "bot")], "tau-bench", r"1: traj\[1\]\.role: unknown role 'bot'"),
        (
            [changed(TOOLTALK, "conversation.1.apis.0.request", None)],
            "tooltalk",
            r"1: .*\[1\]\.apis\[0\]\.request: is missing",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], format: str, problem: str) -> None:
    path = lines(tmp_path / "data.jsonl", *rows)
    with pytest.raises(DataError, match=r"data\.jsonl:" + problem):
        list(read_trajectories(path, format))


def test_real_tau_bench_episodes_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    episodes = [item for item in _real(shared_data) if item.suite == "tau_airline"][:50]
    rows = []
    for number, episode in enumerate(episodes):
        made: list[dict[str, Any]] = []
        for message in episode.messages:
            row: dict[str, Any] = {"role": message.role, "content": message.content or None}
            if message.tool_calls:
                (call,) = message.tool_calls
                function = {"name": call.name, "arguments": json.dumps(call.arguments)}
                row["tool_calls"] = [{"id": f"call_{len(made)}", "type": "function", "function": function}]
            if message.role == "tool":
                row |= {"tool_call_id": f"call_{len(made) - 1}", "name": message.name, "content": message.content}
            made.append(row)
        rows.append({"task_id": number, "reward": 1.0, "info": {}, "traj": made, "trial": 0})
    document(tmp_path / "tools.json", [item.to_json() for item in episodes[0].tools])
    found = list(read_trajectories(document(tmp_path / "airline.json", rows)))
    assert [item.messages for item in found] == [item.messages for item in episodes]
    assert [item.tools for item in found] == [item.tools for item in episodes]


def _real(shared_data: Path) -> list[Trajectory]:
    return list(read_trajectories(shared_data / "train" / "permissive_1018.jsonl"))
