"""The paper's raw format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message, Tool

PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOLS = json.dumps(
    [{"type": "function", "function": {"name": "search", "description": "Finds.", "parameters": PARAMETERS}}]
)


def row(*messages: tuple[str, str], tools: Any = TOOLS) -> dict[str, Any]:
    conversation = [("system", tools), *messages]
    return {"id": "a", "conversations": [{"role": role, "content": content} for role, content in conversation]}


EXAMPLES = [row(("user", "Find x"), ("assistant", 'search\n{"q": "x"}'), ("function", "[]"))]


def written(tmp_path: Path, rows: Any) -> Path:
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def test_a_whole_row(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            row(
                ("user", "Find x"),
                ("assistant", 'search\n{"q": "x", "n": [1, null]}'),
                ("function", "[]"),
                ("assistant", "Nothing found."),
            )
        ],
    )
    (trajectory,) = read_trajectories(path)
    assert trajectory.id == "a"
    assert trajectory.tools == (Tool("search", "Finds.", PARAMETERS),)
    assert trajectory.messages == (
        Message("user", "Find x"),
        Message("assistant", tool_calls=(Call("search", {"q": "x", "n": [1, None]}),)),
        Message("tool", "[]", name="search"),
        Message("assistant", "Nothing found."),
    )
    (case,) = read_cases(path)
    assert case.gold == ((Call("search", {"q": "x", "n": [1, None]}),),)


@pytest.mark.parametrize(
    ("content", "call"),
    [
        ("finish\n{}", Call("finish")),
        ('get-user.v2 \n{\n "id": 1\n}\n', Call("get-user.v2", {"id": 1})),
        ('search\n{"q": "x"} and more', None),
        ('Here it is:\n{"q": "x"}', None),
        ("search\n[1]", None),
        ('search\n{"q": NaN}', None),
        ("search(q = 'x')", None),
        ("", None),
    ],
)
def test_a_call_or_a_turn_of_text(tmp_path: Path, content: str, call: Call | None) -> None:
    (trajectory,) = read_trajectories(written(tmp_path, [row(("assistant", content))]))
    expected = Message("assistant", tool_calls=(call,)) if call else Message("assistant", content)
    assert trajectory.messages == (expected,)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row(("user", "x"), tools="no json"), r"\[1\]\.conversations\[0\]\.content: must be the tools as a JSON list"),
        (row(("user", "x"), tools="{}"), r"conversations\[0\]\.content: must be the tools as a JSON list, not dict"),
        (row(("user", "x"), tools='[{"description": 1}]'), r"content\[0\]\.name: is missing"),
        (row(("gpt", "x")), r"conversations\[1\]\.role: unknown role 'gpt'"),
        (row(("user", 3)), r"conversations\[1\]\.content: must be text, not int"),  # type: ignore[arg-type]
        ({"id": "a", "conversations": []}, r"\[1\]\.conversations: must be a list of messages"),
        ({"conversations": row(("user", "x"))["conversations"]}, r"\[1\]\.id: is missing"),
        ({"id": "a", "conversations": [{"from": "system", "value": "x"}] * 2}, r"content: is missing"),
        ([], "conversations"),
    ],
)
def test_bad_rows_are_located(tmp_path: Path, bad: Any, problem: str) -> None:
    path = written(tmp_path, [row(("user", "fine")), bad])
    with pytest.raises(DataError, match=problem) as error:
        list(read_trajectories(path, "tl"))
    assert str(error.value).startswith(f"{path}: [1]")
