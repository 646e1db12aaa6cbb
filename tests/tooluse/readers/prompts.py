"""Conversations with texts that hold calls, tools and results, or seem to, and what there is to say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tooluse.readers.helpers import LOOKUP, lines, read_one
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, Trajectory

DOG = Call("lookup", {"word": "dog"})
LLAMA = '<|python_tag|>{"name": "lookup", "parameters": {"word": "dog"}}<|eom_id|>'


def row(said: str, result: str = "a pet", **beside: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": "What is a dog?"},
        {"role": "assistant", "content": said},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": "A pet."},
    ]
    return {"tools": [LOOKUP], "messages": messages, **beside}


def prompted(prompt: str, said: str, result: str = "a pet") -> dict[str, Any]:
    """A row whose tools stand in its system message."""
    found = row(said, result)
    return {"messages": [{"role": "system", "content": prompt}, *found["messages"]]}


def remarks(path: Path, value: dict[str, Any], format: str = "auto") -> tuple[Trajectory, dict[str, int]]:
    """The trajectory, and what there is to say about it."""
    notes = Notes()
    with notes.kept():
        found = read_one(path, value, format=format)
    (of_the_file,) = notes.files.values()
    return found, dict(of_the_file.remarks)


def read(path: Path, role: str, text: str, tools: Any = None, **options: Any) -> tuple[Trajectory, Notes]:
    """A conversation of two messages, the first of which is this text, and what there is to say about it."""
    notes = Notes(**options)
    said = [{"role": role, "content": text}, {"role": "assistant", "content": "Yes."}]
    value = {"messages": said} | ({"tools": tools} if tools else {})
    with notes.kept():
        (found,) = read_trajectories(lines(path / "data.jsonl", value))
    (of_the_file,) = notes.files.values()
    return found, of_the_file


def names(found: Trajectory) -> list[str]:
    return [tool.name for tool in found.tools]
