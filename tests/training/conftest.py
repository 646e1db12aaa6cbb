"""A tiny random Llama in float32, in memory and as a directory, shared by the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.devices import few_devices
from tests.tiny import write_model, write_trajectories
from tests.training.helpers import TINY
from tl_jax.config import SftConfig, load_config
from tl_jax.model.llama import init_params, make_graphdef


@pytest.fixture
def two_devices() -> Iterator[None]:
    """For runs of which the number of devices is not the matter."""
    with few_devices(2):
        yield


@pytest.fixture(scope="session")
def graphdef() -> Any:
    return make_graphdef(TINY, dtype=jnp.float32)


@pytest.fixture
def params() -> Any:
    return init_params(TINY, jax.random.key(7))


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, data_file: Path) -> Path:
    """A tiny random model with a small byte-level tokenizer, in Hugging Face format."""
    return write_model(tmp_path_factory.mktemp("model"), data_file.read_text().splitlines())


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen trajectories of one or two calls, some of which fail at first."""
    return write_trajectories(tmp_path_factory.mktemp("data") / "train.jsonl")


@pytest.fixture(scope="session")
def make_sft_config(model_dir: Path, data_file: Path) -> Callable[..., SftConfig]:
    """Makes the configuration of a run of a few steps in float32; ``a__b=1`` overrides ``a.b``."""

    def make(run_dir: Path, **overrides: Any) -> SftConfig:
        settings: dict[str, Any] = {
            "run_dir": run_dir,
            "model.path": model_dir,
            "model.dtype": "float32",
            "data.path": data_file,
            "data.max_length": 512,
            "data.batch_size": 4,
            "mesh.fsdp": 1,
            "mesh.data": -1,
            "steps": 6,
            "log_every": 2,
            "checkpoint.every": 4,
            "optimizer.learning_rate": 1e-3,
        }
        settings |= {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config(SftConfig, [], [f"{key}={value}" for key, value in settings.items()])

    return make


@pytest.fixture
def sft_config(make_sft_config: Callable[..., SftConfig], tmp_path: Path) -> Callable[..., SftConfig]:
    """`make_sft_config` with a run directory of the test's own."""
    return lambda **overrides: make_sft_config(**{"run_dir": tmp_path / "run", **overrides})
