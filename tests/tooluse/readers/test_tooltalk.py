"""ToolTalk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import (
    changed,
    document,
    lines,
)
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, DataError, Message

TOOLTALK = {
    "conversation_id": "1",
    "apis_used": ["Login"],
    "scenario": "A day.",
    "conversation": [
        {"index": 0, "role": "user", "text": "Log me in."},
        {
            "index": 1,
            "role": "assistant",
            "text": "You are in.",
            "apis": [
                {
                    "request": {"api_name": "Login", "parameters": {"user": "a"}},
                    "response": None,
                    "exception": "Unknown user",
                },
                {
                    "request": {"api_name": "Login", "parameters": {"user": "b", "n": 2}},
                    "response": {"ok": True},
                    "exception": None,
                },
            ],
        },
    ],
}


EXAMPLES = [TOOLTALK]


def test_a_conversation_of_tooltalk(tmp_path: Path) -> None:
    (trajectory,) = read_trajectories(document(tmp_path / "Login-easy.json", TOOLTALK))
    meta = {"scenario": "A day.", "conversation_id": "1", "apis_used": ["Login"]}
    assert (trajectory.id, trajectory.meta) == ("tooltalk/Login-easy", meta)
    assert trajectory.messages == (
        Message("user", "Log me in."),
        Message("assistant", tool_calls=(Call("Login", {"user": "a"}),)),
        Message("tool", "Unknown user", name="Login", error=True),
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


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [changed(TOOLTALK, "conversation.1.apis.0.request", None)],
            r"1: .*\[1\]\.apis\[0\]\.request: is missing",
        )
    ],
)
def test_bad_rows_are_named(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:" + problem):
        list(read_trajectories(lines(tmp_path / "data.jsonl", *rows), "tooltalk"))
