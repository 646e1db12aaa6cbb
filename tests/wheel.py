"""The wheel in dist/, installed into clean environments: what `make dist` runs.

No part of the suite, for it downloads. Without extras there is no JAX, and data, rewards and scores work; with
``[train]`` a model is made, trained and exported. Where no package index can be reached the tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.xla_flags import xla_flags

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ("No matching distribution", "Could not fetch", "Failed to establish", "Temporary failure", "ReadTimeout")
TOOLS = [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}]
CALL = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"n": 1}}]}
TRAJECTORY = {"id": "a", "tools": TOOLS, "messages": [{"role": "user", "content": "?"}, CALL]}


@pytest.fixture(scope="module", params=["", "[train]"])
def extra(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def wheel() -> Path:
    (found,) = (ROOT / "dist").glob("*.whl")
    return found


def test_the_wheel_takes_no_name_but_its_own(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"tl_jax"}


@pytest.fixture(scope="module")
def binaries(extra: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment with the wheel in it."""
    home = tmp_path_factory.mktemp("wheel") / "venv"
    venv.create(home, symlinks=True)
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--retries=1"]
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python"]  # ours: one of its own takes seconds
    installed = run([*pip, "install", *options, f"{wheel}{extra}"], home)
    if installed.returncode and any(sign in installed.stderr for sign in OFFLINE):
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    return home / "bin"


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Away from the repository, and without the paths by which Python would find it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags()}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_works(binaries: Path, extra: str, tmp_path: Path) -> None:
    def tl_jax(*words: object) -> str:
        done = run([binaries / "tl-jax", *map(str, words)], tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert tl_jax("--version").startswith("tl-jax, version ")
    (tmp_path / "data.jsonl").write_text(json.dumps(TRAJECTORY) + "\n")
    (tmp_path / "answers.jsonl").write_text('{"id": "a#1", "prediction": "f(n=2)"}\n')
    shown = tl_jax("reward", "--cases", "data.jsonl", "--predictions", "answers.jsonl", "--json")
    assert json.loads(shown)["reward"] == -0.25
    has_jax = run([binaries / "python", "-c", "import jax"], tmp_path).returncode == 0
    assert has_jax == (extra == "[train]")
    if not has_jax:
        return
    where = "import tl_jax.demo as demo; print(demo.__path__[0])"
    base = Path(run([binaries / "python", "-c", where], tmp_path).stdout.strip()) / "base"
    assert binaries.parent in base.parents
    tl_jax("init-model", "--preset", "tiny", "--tokenizer", base, "--out", "model")
    settings = ("data.path=data.jsonl", "data.max_length=128", "data.batch_size=1", "steps=1", "mesh.fsdp=1")
    (tmp_path / "c.yaml").write_text("run_dir: run\nmodel: {path: model, dtype: float32}\n")
    tl_jax("sft", "--config", "c.yaml", *settings)
    tl_jax("export", "--from", "run", "--to", "exported")
    assert (tmp_path / "exported/model.safetensors").is_file()
