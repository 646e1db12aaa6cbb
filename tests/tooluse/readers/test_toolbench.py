"""ToolBench: answers of a search, and ToolLLaMA's training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    LOOKUP,
    changed,
    document,
    lines,
    turns,
)
from tl_jax.tooluse.readers import detect_format, read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

TOOLBENCH = {
    "win": True,
    "try_count": 1,
    "answer_generation": {
        "valid_data": True,
        "query": "Find a dog.",
        "function": [{**LOOKUP, "parameters": {**LOOKUP["parameters"], "optional": []}}],
        "train_messages": [
            [],
            [
                {"role": "system", "content": "You are AutoGPT."},
                {"role": "user", "content": "\nFind a dog.\nBegin!\n"},
                {"role": "assistant", "content": "I look it up."},
                {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "lookup", "arguments": '{\n "word": "dog"\n}'},
                },
                {"role": "function", "name": "lookup", "content": '{"error": "", "response": "a pet"}'},
                {"role": "assistant", "content": None, "function_call": {"name": "Finish", "arguments": "{}"}},
            ],
        ],
    },
}


TOOLLLAMA = {
    "id": "Step 4: Find a dog.",
    "conversations": turns(
        (
            "system",
            f"Thought:\nAction\nAction Input:\nSpecifically, you have access to the following APIs: {[LOOKUP]!r}",
        ),
        ("user", "\nFind a dog.\nBegin!\n"),
        ("assistant", "\nThought: \nAction: lookup\nAction Input: {}"),
        ("function", "word is missing"),
        ("assistant", "\nThought: Again.\nAction: lookup\nAction Input: {'word': 'dog'}"),
    ),
}


EXAMPLES = [TOOLBENCH, TOOLLLAMA]


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


def test_one_object_over_many_lines(tmp_path: Path) -> None:
    path = document(tmp_path / "10_ChatGPT_DFS.json", TOOLBENCH)
    assert detect_format(path) == "toolbench"
    (trajectory,) = read_trajectories(path)
    assert trajectory.id == "10_ChatGPT_DFS"
    damaged = document(tmp_path / "bad.json", {"answer_generation": {"train_messages": []}})
    with pytest.raises(DataError, match=r"bad\.json: answer_generation\.train_messages: is empty"):
        list(read_trajectories(damaged))
    errors: list[DataError] = []
    assert list(read_trajectories(damaged, "auto", "skip", errors.append)) == []
    assert len(errors) == 1


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


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [TOOLLLAMA, changed(TOOLLLAMA, "conversations.2.value", "Action: f\nAction Input: {a}")],
            r"2: conversations\[2\]\.value: Action Input: is neither JSON nor a Python literal",
        ),
        (
            [changed(TOOLLLAMA, "conversations.1.from", "alien")],
            r"1: conversations\[1\]\.from: unknown speaker",
        ),
        (
            [changed(TOOLLLAMA, "conversations.0.value", "x")],
            r"1: conversations\[0\]\.value: has no list of tools",
        ),
        (
            [changed(TOOLBENCH, "answer_generation.train_messages.1.3.function_call.arguments", "{")],
            r"1: answer_generation\.train_messages\[1\]\[3\]\.function_call\.arguments: is not JSON",
        ),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:" + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", *rows), "toolbench"))
