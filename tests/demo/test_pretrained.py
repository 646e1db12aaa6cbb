"""The demo of a user's own model: what it is given, and everything once where a real model is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.xla_flags import xla_flags
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import load_cases
from tl_jax.demo.course import BASE, PRETRAINED, Size
from tl_jax.demo.data import write_cases, write_data
from tl_jax.demo.run import MARKED, MARKER, run_demo
from tl_jax.demo.session import Demo
from tl_jax.demo.world import generate
from tl_jax.demo.world_files import write_jsonl
from tl_jax.errors import UserError
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import Call, Message

SCRIPT = """
import sys
from pathlib import Path
from tl_jax.demo.course import Size
from tl_jax.demo.run import run_demo
few = ("steps=1", "data.batch_size=2", "accumulate=2", "data.max_length=512")
grpo = ("steps=1", "batch_size=2", "group_size=2", "sampling.max_new_tokens=8")
size = Size(cases=4, held_out=2, overrides={"sft": few, "lora": few, "grpo": grpo})
out, data, model, *cases = map(Path, sys.argv[1:])
run_demo(out, data, size, model, cases)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Trajectories, the last of them too long."""
    path = tmp_path / "own.jsonl"
    *short, last = generate(9, 40, "train")
    write_jsonl(path, [*short, replace(last, messages=(Message("user", "and " * 3000), *last.messages[1:]))])
    return path


def test_what_is_missing_or_in_vain_is_told_at_once(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="on what"):
        run_demo(tmp_path / "out", model=BASE)
    with pytest.raises(UserError, match="--cases goes with --model"):
        run_demo(tmp_path / "out", own, cases=[own])
    with pytest.raises(UserError, match=r"no model in Hugging Face format; .*get_model"):
        run_demo(tmp_path / "out", own, model=tmp_path)
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match="own: two files of --cases have this name"):
        run_demo(tmp_path / "out", own, model=BASE, cases=[own, tmp_path / "more/own.jsonl"])


def test_a_model_that_is_not_there_costs_no_earlier_demo(own: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "out" / "model"
    earlier.mkdir(parents=True)
    (tmp_path / "out" / MARKER).write_text(MARKED)
    with pytest.raises(UserError, match="no model in Hugging Face format"):
        run_demo(tmp_path / "out", own, model=tmp_path)
    assert earlier.is_dir()


def test_cases_that_cannot_be_answered_are_told_as_such(own: Path, tmp_path: Path) -> None:
    case = load_cases(own)[0]
    unsaid = replace(case, gold=((Call("", {}),),))
    write_jsonl(tmp_path / "unsaid.jsonl", [unsaid])
    demo = Demo(tmp_path / "out", own, Size(), PRETRAINED, BASE, (tmp_path / "unsaid.jsonl",))
    with pytest.raises(UserError, match=r"none of the 1 decision points can be asked: .* of 1 the text format cannot"):
        write_cases(demo)


def test_what_fits_is_trained_on_and_every_answer_is_a_target(own: Path, tmp_path: Path) -> None:
    demo = Demo(tmp_path / "out", own, Size(held_out=2), PRETRAINED)
    write_data(demo)
    codec, limit = Codec.open("paper", BASE), demo.sft_config(BASE).data.max_length
    train, held_out = (list(read_trajectories(demo.out / "data" / f"{name}.jsonl")) for name in ("train", "held_out"))
    assert len(held_out) == 2
    there = {one.id: one for one in read_trajectories(own)}
    assert all(there[one.id].messages == one.messages for one in train + held_out)
    fits = {one.id for one in there.values() if len(codec.encode(one.tools, one.messages).ids) <= limit}
    assert {one.id for one in train} <= fits < set(there)


def test_each_file_of_cases_is_a_suite_of_its_own(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(own.read_bytes())
    demo = Demo(tmp_path / "out", own, Size(cases=30), PRETRAINED, BASE, (own, other))
    write_cases(demo)
    cases = load_cases(demo.out / "data/cases.jsonl")
    assert len(cases) == 30
    assert {case.suite for case in cases} == {"own", "other"}
    assert {case.id.removeprefix(f"{case.suite}/") for case in cases} <= {case.id for case in load_cases(own)}


@pytest.mark.slow
def test_everything_once(own: Path, tmp_path: Path) -> None:
    """Of the model at ``$REAL_MODEL``, or of the one that examples/smollm2/get_model.py made."""
    model = Path(os.environ.get("REAL_MODEL", Path(__file__).parents[2] / "models/smollm2"))
    if not (model / "config.json").is_file():
        pytest.skip(f"no real model at {model}")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, (out, own, model, own))],
        env={**os.environ, "XLA_FLAGS": xla_flags()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    commands = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("$ tl-jax ")]
    assert commands == ["mae", "eval", "sft", "eval", "sft", "eval", "rl", "eval", "export"]
    estimate, _, rest = done.stdout.partition("eval before")
    assert estimate.count(": fits, needs") >= 3
    assert " minutes from here at " in estimate
    for name in ("before", "after SFT", "after LoRA", "after GRPO"):
        assert name in rest
        summary = json.loads((out / "eval" / name.replace(" ", "_") / "summary.json").read_text())
        assert (summary["cases"], list(summary["suites"])) == (4, ["own"])
    assert "Against the base model, case by case" in rest
    assert "transformers loads" in rest
