"""Rows of chat messages: what somebody asks, a call, its result, an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import read_one
from tl_jax.tooluse.schema import Message

USER, DONE = {"role": "user", "content": "Go."}, {"role": "assistant", "content": "Done."}
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "dog"}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "a pet"}


def said(tmp_path: Path, *messages: dict[str, Any], **row: Any) -> tuple[Message, ...]:
    """The messages that are read after the user's."""
    return read_one(tmp_path, {"messages": [USER, *messages], **row}).messages[1:]


def turn(call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call]}
