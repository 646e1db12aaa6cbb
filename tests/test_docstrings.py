"""The examples in docstrings are run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tl_jax.cli.main import TRAIN

ROOT = Path(__file__).parents[1]
FILES = [file for file in sorted((ROOT / "tl_jax").rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]
WITH_JAX = ("model", "inference", "training", "rl", "plan")
"""Rooms whose import takes seconds: not for `make quick`."""


def marked(file: Path) -> object:
    path = file.relative_to(ROOT)
    return pytest.param(file, id=str(path), marks=[pytest.mark.jax] if path.parts[1] in WITH_JAX else [])


@pytest.mark.parametrize("file", [marked(file) for file in FILES])
def test_examples(file: Path) -> None:
    try:
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    except ModuleNotFoundError as error:
        if error.name not in TRAIN:
            raise
        pytest.skip(f"needs {error.name}")
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
