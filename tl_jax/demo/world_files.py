"""The made-up world as files: what is learnt from, what is held out, and its decision points."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tl_jax.config.world import WorldConfig
from tl_jax.data.prompts import load_cases
from tl_jax.demo.values import Split
from tl_jax.demo.world import generate
from tl_jax.files import write_lines
from tl_jax.tooluse.schema import Case, Trajectory

SUITES: dict[Split, str] = {
    "values": "known tools, new values",
    "tools": "unseen tools",
    "domains": "unseen domains",
}
"""What is held out, as evaluations call it."""


def learnt(world: WorldConfig, seed: int) -> list[Trajectory]:
    """The trajectories to learn from."""
    return list(generate(seed, world.train, "train", world=world))


def held_out(world: WorldConfig, seed: int) -> list[Trajectory]:
    """Those that training never sees."""
    amounts: dict[Split, int] = {"values": world.new_values, "tools": world.new_tools, "domains": world.new_domains}
    return [
        replace(trajectory, suite=suite)
        for split, suite in SUITES.items()
        for trajectory in generate(seed, amounts[split], split, world=world)
    ]


def write_world(world: WorldConfig, seed: int, out: Path) -> dict[str, int]:
    """Writes ``train.jsonl``, ``held_out.jsonl`` (both trajectories) and ``cases.jsonl``, the decision points of the
    latter: each recorded call that MAE leaves standing. The same files for the same settings and seed.

    Returns:
        The number of rows of each file.
    """
    rows = {
        "train.jsonl": write_jsonl(out / "train.jsonl", learnt(world, seed)),
        "held_out.jsonl": write_jsonl(out / "held_out.jsonl", held_out(world, seed)),
    }
    return {**rows, "cases.jsonl": write_jsonl(out / "cases.jsonl", load_cases(out / "held_out.jsonl"))}


def write_jsonl(path: Path, items: Iterable[Trajectory] | Iterable[Case]) -> int:
    """Writes canonical JSONL; the number of rows."""
    lines = [json.dumps(item.to_json(), ensure_ascii=False) for item in items]
    write_lines(path, lines)
    return len(lines)
