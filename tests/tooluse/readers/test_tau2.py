"""tau2-bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import LOOKUP, changed, document, read_one, refused
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories, tau2
from tl_jax.tooluse.schema import Call, Message, Tool

MESSAGES: list[dict[str, Any]] = [
    {"role": "assistant", "content": "Hi!", "turn_idx": 0, "timestamp": "2025", "cost": 0.0, "is_audio": False},
    {"role": "user", "content": "A dog?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "name": "lookup", "arguments": {"word": "dog"}, "requestor": "assistant"},
            {"id": "c2", "name": "lookup", "arguments": {"word": "cat"}, "requestor": "assistant"},
        ],
    },
    {
        "role": "tool",
        "tool_messages": [
            {"role": "tool", "id": "c1", "content": "a pet", "requestor": "assistant", "error": False},
            {"role": "tool", "id": "c2", "content": "gone", "requestor": "assistant", "error": True},
        ],
    },
    {"role": "assistant", "content": "Toggle it."},
    {"role": "user", "tool_calls": [{"id": "u1", "name": "toggle", "arguments": {"on": True}, "requestor": "user"}]},
    {"role": "tool", "id": "u1", "content": "on", "requestor": "user", "error": False},
    {"role": "user", "content": "Done."},
    {"role": "assistant", "content": "A pet."},
]
ROW = {"id": "s1", "tools": [LOOKUP], "messages": MESSAGES}
SIGNATURE = {"name": "lookup", "doc": "Does lookup.", "params": LOOKUP["parameters"], "returns": {"type": "string"}}
RESULTS = {
    "timestamp": "2025",
    "info": {"environment_info": {"domain_name": "d", "policy": "Be kind.", "tool_defs": {"lookup": SIGNATURE}}},
    "tasks": [],
    "simulations": [
        {"id": "s2", "task_id": "t1", "trial": 0, "messages": MESSAGES, "reward_info": {"reward": 1.0}},
        {"task_id": "t2", "messages": MESSAGES[:2]},
    ],
}
EXAMPLES = [ROW, RESULTS]
EXPECTED = (
    Message("assistant", "Hi!"),
    Message("user", "A dog?"),
    Message("assistant", "", (Call("lookup", {"word": "dog"}), Call("lookup", {"word": "cat"}))),
    Message("tool", "a pet", name="lookup", call_id="c1"),
    Message("tool", "gone", name="lookup", call_id="c2", error=True),
    Message("assistant", "Toggle it."),
    Message("user", "Done."),
    Message("assistant", "A pet."),
)


def test_calls_of_the_user_stand_in_no_prompt_and_are_kept(tmp_path: Path) -> None:
    notes = Notes()
    with notes.kept():
        found = read_one(tmp_path, ROW)
    assert (found.id, found.messages, found.tools) == ("s1", EXPECTED, (Tool.from_json(LOOKUP),))
    assert found.meta["user_calls"] == [
        {"before_message": 6, "name": "toggle", "arguments": {"on": True}, "id": "u1"},
        {"result": "on", "id": "u1"},
    ]
    (of_the_file,) = notes.files.values()
    assert of_the_file.remarks == {tau2.USER_CALLS: 1}


def test_a_file_of_results(tmp_path: Path) -> None:
    first, second = read_trajectories(document(tmp_path / "run.json", RESULTS))
    assert (first.id, second.id) == ("s2", "run#1")
    assert first.messages == (Message("system", "Be kind."), *EXPECTED)
    assert [tool.name for tool in second.tools] == ["lookup"]
    assert first.meta["reward_info"] == {"reward": 1.0}


def test_tools_put_together_from_the_calls(tmp_path: Path) -> None:
    found = read_one(tmp_path, {"messages": MESSAGES})
    assert ([tool.name for tool in found.tools], found.meta["tools"]) == (["lookup"], "inferred from the calls")


def test_bad_rows(tmp_path: Path) -> None:
    refused(
        tmp_path, changed(ROW, "messages.2.tool_calls.0.requestor", "user"), r".*tool_calls\[0\]\.requestor: is 'user'"
    )
    refused(tmp_path, changed(ROW, "messages.0.is_audio", True), r"messages\[0\]\.is_audio: is sound")
    refused(tmp_path, changed(ROW, "messages.3.tool_messages.0.id", "z"), r"messages\[3\].*'z' is the id of no earlier")
    refused(tmp_path, changed(ROW, "messages.1.foo", 1), r"messages\[1\]\.foo: unknown field")
