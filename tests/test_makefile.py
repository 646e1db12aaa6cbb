"""The Makefile's commands, listed and not run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def commands(*arguments: str) -> str:
    if not shutil.which("make"):
        pytest.skip("no make here")
    command, home, environment = (
        ["make", "--dry-run", *arguments],
        Path(__file__).parents[1],
        {"PATH": os.environ["PATH"]},
    )
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("model", "fetched"), [("", True), ("MODEL=models/smollm2", True), ("MODEL=/mine", False)])
def test_only_the_default_model_is_fetched(model: str, fetched: bool) -> None:
    """Another that is not where it is said to be is a slip of the pen, and no place for a model nobody asked for."""
    said = commands("demo-real", "DATA=data.jsonl", "CASES=one.jsonl two.jsonl", *filter(None, [model]))
    assert ("get_model.py" in said) == fetched
    assert "--data data.jsonl --cases one.jsonl --cases two.jsonl" in said
    assert f"--model {model.removeprefix('MODEL=') or 'models/smollm2'} " in said
