"""Writing files to read, and the parts that rows of several formats have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.results import Called
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Trajectory


def lines(path: Path, *rows: Any) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def document(path: Path, value: Any) -> Path:
    """A JSON file over many lines."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return path


def tool(name: str, *required: str, **properties: str) -> dict[str, Any]:
    """A tool whose parameters are ``name="type"``."""
    schema = {key: {"type": kind, "description": f"The {key}."} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": schema, "required": list(required)}
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


ASK, FINISH = tool("ask_to_user", "question", question="string"), tool("finish", "answer", answer="string")


LOOKUP = tool("lookup", "word", word="string", limit="integer")


def prompt(tools: list[Any]) -> str:
    """A system prompt as RoTBench and ToolEyes have it."""
    example = 'The "Action Input" needs to provide a dict similar to {parameter_1: value_1}.'
    return f"{example}\nYou have access of the following tools:\n{json.dumps(tools)}\n\nLet's Begin!"


def action(name: str, arguments: Any, thought: str = "") -> str:
    return f"Thought:{thought}\nAction: {name}\nAction Input: {json.dumps(arguments)}"


def turns(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": speaker, "value": value} for speaker, value in pairs]


def changed(row: Any, way: str, value: Any) -> Any:
    """A copy of the row with ``value`` at ``way``, such as ``traj.2.content``."""
    row = json.loads(json.dumps(row))
    target, *keys = row, *(int(key) if key.isdigit() else key for key in way.split("."))
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    return row


def read_one(tmp_path: Path, row: Any, format: str = "auto") -> Trajectory:
    """The one trajectory in a file of one row."""
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", row), format)
    return found


def real_trajectories(shared_data: Path) -> list[Trajectory]:
    return list(read_trajectories(shared_data / "train" / "permissive_1018.jsonl"))


def as_canonical(path: Path) -> list[Case]:
    return [Case.from_json(json.loads(line)) for line in path.open(encoding="utf-8")]


def without_source(case: Case) -> dict[str, Any]:
    value = case.to_json()
    value["meta"] = {key: item for key, item in value["meta"].items() if key not in ("repo", "commit", "path")}
    return value


def stripped(message: Message) -> Any:
    return message.role, message.content.strip(), message.tool_calls, message.name


CALL = Call("lookup", {"word": "dog"}, id="c1")


def conversation(reasoning: str | None = None, call_id: str | None = "c1", error: bool = False) -> tuple[Message, ...]:
    """A question about dogs, a call, its result and the answer: what the examples of several formats say."""
    return (
        Message("user", "What is a dog?"),
        Message("assistant", "I look.", (CALL,), reasoning=reasoning),
        Message("tool", "a pet", name="lookup", call_id=call_id, error=error),
        Message("assistant", "A pet."),
    )


def refused(tmp_path: Path, row: Any, problem: str, format: str = "auto") -> None:
    """The row is an error that says so."""
    with pytest.raises(DataError, match=r"data\.jsonl:1: " + problem):
        read_one(tmp_path, row, format)


def called(*names: str) -> Called:
    """Calls of tools of these names, without ids, that wait for results."""
    waiting = Called()
    waiting.note(Message("assistant", "", tuple(Call(name, {}) for name in names)))
    return waiting
