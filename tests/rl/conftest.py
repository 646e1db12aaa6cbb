"""The tiny model and the data of the tests of training, and a model that has learnt to call a tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices import compiled_better, few_devices
from tests.rl.small_run import TOOLS, question, write
from tests.training.conftest import data_file, graphdef, model_dir, params, sft_config, two_devices
from tl_jax.config import SftConfig, load_config
from tl_jax.training.sft import run_sft

__all__ = ["data_file", "graphdef", "model_dir", "params", "sft_config", "two_devices"]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decision points whose right answer is always the same tool."""
    gold = [[{"name": "find_city", "arguments": {}}]]
    rows = [{"id": f"c{i}", "gold": gold, **question(i)} for i in range(10)]
    return write(tmp_path_factory.mktemp("cases") / "cases.jsonl", rows)


@pytest.fixture(scope="session")
def undecided(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """A supervised run whose model calls either tool, whatever the question."""
    home = tmp_path_factory.mktemp("undecided")
    rows = []
    for index in range(16):
        row = question(index // 2)
        call = {"role": "assistant", "tool_calls": [{"name": TOOLS[index % 2]["name"], "arguments": {}}]}
        rows.append({"id": f"t{index}", "tools": row["tools"], "messages": [*row["messages"], call]})
    settings = {
        "run_dir": home / "run",
        "model.path": model_dir,
        "model.dtype": "float32",
        "data.path": write(home / "train.jsonl", rows),
        "data.max_length": 256,
        "data.batch_size": 8,
        "steps": 30,
        "optimizer.learning_rate": 3e-3,
        "optimizer.schedule": "constant",
    }
    with few_devices(1), compiled_better():
        run_sft(load_config(SftConfig, [], [f"{key}={value}" for key, value in settings.items()]))
    return home / "run"
