"""The made-up world as files, and the command that writes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.config import WorldConfig
from tl_jax.data.prompts import load_cases
from tl_jax.demo.world_files import write_world
from tl_jax.tooluse.mae.apply import blocked_turns
from tl_jax.tooluse.readers import read_cases, read_trajectories

SMALL = ["train=30", "new_values=12", "new_tools=9", "new_domains=7", "error_rate=0.4"]
FILES = ("train.jsonl", "held_out.jsonl", "cases.jsonl")


def test_the_command_writes_what_the_function_does(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["world", "--out", str(tmp_path / "a"), "--seed", "5", *SMALL])
    assert said.exit_code == 0, said.output
    world = WorldConfig(train=30, new_values=12, new_tools=9, new_domains=7, error_rate=0.4)
    rows = write_world(world, 5, tmp_path / "b")
    assert tuple(rows) == FILES
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert len((tmp_path / "a" / name).read_text().splitlines()) == rows[name]
        assert f"{name}: {rows[name]} rows" in said.output
    assert (rows["train.jsonl"], rows["held_out.jsonl"]) == (30, 28)


def test_the_cases_are_the_calls_of_the_held_out_trajectories_that_mae_leaves_standing(tmp_path: Path) -> None:
    write_world(WorldConfig(train=1, new_values=12, new_tools=9, new_domains=7), 5, tmp_path)
    held_out = list(read_trajectories(tmp_path / "held_out.jsonl"))
    assert Counter(t.suite for t in held_out) == {
        "known tools, new values": 12,
        "unseen tools": 9,
        "unseen domains": 7,
    }
    calls = sum(bool(message.tool_calls) for t in held_out for _, message in t.turns)
    blocked = sum(len(blocked_turns(t)) for t in held_out)
    cases = list(read_cases(tmp_path / "cases.jsonl"))
    assert len(cases) == calls - blocked
    assert cases == load_cases(tmp_path / "held_out.jsonl")


def test_wrong_settings_are_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["world", "--out", str(tmp_path / "new"), "eror_rate=0.1"])
    assert said.exit_code == 2
    assert said.output == "tl-jax: unknown key 'eror_rate'; did you mean 'error_rate'?\n"
    assert not (tmp_path / "new").exists()
