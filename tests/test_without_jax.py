"""``pip install tl-jax`` alone: data, rewards and scores work without JAX, transformers or NumPy being there."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("jax", "jaxlib", "flax", "optax", "orbax", "transformers", "datasets", "numpy", "scipy", "torch")
OFFLINE = ("No matching distribution", "Could not fetch", "Failed to establish", "Temporary failure", "ReadTimeout")
TOOLS = [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}]
USER = {"role": "user", "content": "?"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with this project in it."""
    folder = tmp_path_factory.mktemp("without_jax") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    interpreter = folder / "bin" / "python"
    install = run(
        interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", str(ROOT)
    )
    if install.returncode and any(sign in install.stderr for sign in OFFLINE):
        pytest.skip("no package index can be reached, so the project cannot be installed anew")
    assert install.returncode == 0, install.stderr
    return interpreter


def run(program: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        cwd=folder or program.parent,
        env=environment,
        timeout=300,
    )


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def test_every_module_of_the_package_imports_without_the_rest(python: Path) -> None:
    program = f"""
import importlib, pkgutil
from importlib.util import find_spec
assert not [name for name in {ABSENT} if find_spec(name)]
import tl_jax.tooluse
names = [m.name for m in pkgutil.walk_packages(tl_jax.tooluse.__path__, "tl_jax.tooluse.")]
for name in names:
    if name != "tl_jax.tooluse.rewards.matching_scipy":
        importlib.import_module(name)
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case, Message
calls = tuple(Call("f", {{"n": n}}) for n in range(25))
many = Case("c", (), (Message("user", "?"),), (calls,), "parallel")
print(len(names) > 20, score("\\n".join(f"f(n={{n % 24}})" for n in range(25)), many).value)
"""
    result = run(python, "-c", program)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True", str((24 - 0.25) / 25)]


def test_mae_score_and_reward_run(python: Path, tmp_path: Path) -> None:
    command = python.parent / "tl-jax"
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"n": 1}}]}
    trajectories = write(
        tmp_path / "in.jsonl",
        {"id": "a", "tools": TOOLS, "messages": [USER, call, {"role": "tool", "content": "TypeError: f() got 1"}]},
    )
    mae = run(command, "mae", "--in", trajectories, "--out", "out.jsonl", folder=tmp_path)
    assert mae.returncode == 0, mae.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["messages"][1]["weight"] == 0
    gold = [[{"name": "f", "arguments": {"n": 1}}]]
    cases = write(tmp_path / "cases.jsonl", {"id": "a", "tools": TOOLS, "messages": [USER], "gold": gold})
    answers = write(tmp_path / "answers.jsonl", {"id": "a", "prediction": "f(n=2)"})
    files = ("--cases", cases, "--predictions", answers, "--json")
    score = run(command, "score", *files, folder=tmp_path)
    assert score.returncode == 0, score.stderr
    assert (json.loads(score.stdout)["PI"], json.loads(score.stdout)["CF"]) == (100, 0)
    reward = run(command, "reward", *files, folder=tmp_path)
    assert reward.returncode == 0, reward.stderr
    assert json.loads(reward.stdout)["reward"] == -0.25
    better = write(tmp_path / "better.jsonl", {"id": "a", "prediction": "f(n=1)"})
    compare = run(command, "compare", answers, better, "--cases", cases, "--html", "page.html", folder=tmp_path)
    assert compare.returncode == 0, compare.stderr
    assert "1 case better in B" in compare.stdout


def test_a_command_that_needs_more_says_so_in_one_line(python: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("run_dir: r\nmodel: {path: m}\ndata: {path: d}\n")
    for arguments in (("sft", "--config", "c.yaml"), ("init-model", "--preset", "list")):
        result = run(python.parent / "tl-jax", *arguments, folder=tmp_path)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("tl-jax: this needs ")
        assert "pip install 'tl-jax[train]'" in result.stderr
