"""Rows of verifiers, prime-rl and TRL: ``prompt`` and ``completion`` as messages, tools under one of four names.

``{prompt, completion, answer, info, reward}``, with the tools in ``tools``, ``tool_defs``, ``info.tool_defs`` or
``info.oai_tools``. The prompt's own answers are context and no target. A row without a completion is a case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tl_jax.tooluse.fields import Fields
from tl_jax.tooluse.readers.beside_messages import shown
from tl_jax.tooluse.readers.dialogue import Dialogue, around
from tl_jax.tooluse.readers.fields import literal
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.message_reader import MessageReader
from tl_jax.tooluse.readers.nulls import is_padded, without_nulls
from tl_jax.tooluse.readers.rows import Place, each_row
from tl_jax.tooluse.readers.tool_lists import TOOLS
from tl_jax.tooluse.schema import Case, DataError, Trajectory

_ABOUT = (
    *("answer", "reward", "rewards", "task", "example_id", "env_id", "metrics", "advantage", "is_completed"),
    *("is_truncated", "timing", "stop_condition", "generation_ms", "scoring_ms", "total_ms", "error", "token_usage"),
)
_IN_INFO = ("oai_tools", "tool_defs")


def trajectories(row: Any, place: Place) -> list[Trajectory]:
    """The prompt and its completion."""
    found, completed = _read(row, place)
    if not completed:
        raise DataError("is missing: without it the row is a case, and no trajectory", field="completion")
    return [found]


def cases(row: Any, place: Place) -> list[Case] | list[Trajectory]:
    """The prompt of a row, whose right answer only the environment knows, or with a completion the trajectory."""
    found, completed = _read(row, place)
    if completed:
        return [found]
    return [Case(found.id, found.tools, found.messages, (), "none", found.suite, meta=found.meta)]


def _read(row: Any, place: Place) -> tuple[Trajectory, bool]:
    with Fields(row) as fields:
        parts = {name: _messages(fields, name) for name in ("prompt", "completion") if name in fields}
        reader = MessageReader(padded=is_padded([value for part in parts.values() for value, _ in part]))
        reader.offer(fields, *TOOLS)
        info = _info(fields.take("info", default=None), reader)
        system = shown(fields, reader, "")
        beside = around(fields, place.name, "verifiers", *_ABOUT)
    if info:
        beside.meta["info"] = info
    dialogue = Dialogue()
    for name, values in parts.items():
        for value, where in values:
            message = reader.message(value, where)
            if name == "prompt" and message.role == "assistant" and message.weight is None:
                message = replace(message, weight=0.0)
            dialogue.add(message, where)
    return dialogue.trajectory(beside, reader.tools, system, "prompt"), "completion" in parts


def _messages(row: Fields, name: str) -> list[tuple[Any, str]]:
    """The messages in a field; a text is the user's, or the answer."""
    if isinstance(text := row.take(name), str):
        return [({"role": "user" if name == "prompt" else "assistant", "content": text}, name)]
    if not isinstance(text, list):
        raise DataError(f"must be text or a list of messages, not {type(text).__name__}", field=name)
    return [(value, f"{name}[{i}]") for i, value in enumerate(text)]


def _info(value: Any, reader: MessageReader) -> dict[str, Any]:
    """What an environment keeps about a row, without the tools."""
    value = literal(value, "info") if isinstance(value, str) and value.strip() else value or {}
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field="info")
    with Fields({name: value[name] for name in _IN_INFO if name in value}, "info") as fields:
        reader.offer(fields, *_IN_INFO)
    rest = {name: item for name, item in value.items() if name not in _IN_INFO}
    return dict(without_nulls(rest)) if reader.padded else rest


def _recognises(row: Mapping[str, Any]) -> bool:
    """A prompt as messages, and what only these rows have beside it."""
    if "messages" in row or row.get("reward_model") is not None or row.get("prompt") is None:
        return False
    if isinstance(row.get("completion"), list):
        return True
    return isinstance(row["prompt"], list) and any(row.get(key) is not None for key in ("completion", "answer", "info"))


FORMAT = Format(
    name="verifiers",
    description="rows of verifiers and prime-rl, and TRL's prompts and completions: `prompt`, `completion`, "
    "`tool_defs` or `info.oai_tools`, `answer`; without `completion` a case",
    recognises=_recognises,
    trajectories=each_row(trajectories),
    cases=each_row(cases),
    is_case=lambda row: row.get("completion") is None,
    source="https://github.com/PrimeIntellect-ai/verifiers",
)
