"""Whole supervised runs as a user starts them: killed, continued, spread over two processes, on other devices."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.damage import files, flip
from tests.processes import finish, finish_together, launch, launch_together
from tests.runs import rows
from tests.training.helpers import assert_trees_close
from tl_jax.config import MeshConfig, SftConfig
from tl_jax.data.loader import batches
from tl_jax.manifest import check_manifest
from tl_jax.model.llama import make_graphdef
from tl_jax.model.sharding import make_mesh
from tl_jax.model.store import open_model
from tl_jax.training.checkpoint import Checkpoints
from tl_jax.training.compile import abstract_state
from tl_jax.training.losses import weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.run import Run
from tl_jax.training.sft import run_sft
from tl_jax.training.state import init_state
from tl_jax.training.step import evaluate, make_eval_step

pytestmark = pytest.mark.slow
STEPS = 14
metrics = partial(rows, name="metrics")


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, data_file: Path) -> Callable[..., SftConfig]:
    """The same short run under any name."""
    home = tmp_path_factory.mktemp("runs")

    def make(name: str, **settings: Any) -> SftConfig:
        return SftConfig.model_validate(
            {
                "run_dir": home / name,
                "steps": STEPS,
                "log_every": 1,
                "checkpoint": {"every": 5},
                "model": {"path": model_dir, "dtype": "float32"},
                "data": {"path": data_file, "eval_path": data_file, "max_length": 384, "batch_size": 2},
                "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "weight_decay": 0.01, "eps": 1e-5},
            }
            | settings
        )

    return make


@pytest.fixture(scope="module")
def uninterrupted(configured: Callable[..., SftConfig]) -> SftConfig:
    config = configured("uninterrupted")
    finish(launch(config))
    return config


@pytest.fixture(scope="module")
def two(configured: Callable[..., SftConfig]) -> tuple[SftConfig, list[str]]:
    """The same run of two processes, and what each of them said."""
    config = configured("two", mesh={"fsdp": 2})
    return config, finish_together(launch_together(config))


def test_a_run_learns_and_reports(uninterrupted: SftConfig) -> None:
    rows = metrics(uninterrupted.run_dir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert rows[-1]["tokens_per_second"] > 0
    assert [row["step"] for row in rows if "eval_loss" in row] == [STEPS]
    assert rows[1]["learning_rate"] == pytest.approx(1e-3)


def test_the_reported_held_out_loss_is_that_of_the_saved_model(uninterrupted: SftConfig) -> None:
    from tl_jax.data.codec import Codec
    from tl_jax.data.dataset import build_dataset

    model = open_model(uninterrupted.run_dir)
    rows = build_dataset(uninterrupted.data, Codec.open("paper", model.tokenizer_dir)).rows
    step = jax.jit(make_eval_step(make_graphdef(model.config, dtype="float32"), weighted_cross_entropy))
    found = evaluate(step, model.params, batches(rows, 4))  # another batch size than the run's
    assert metrics(uninterrupted.run_dir)[-1]["eval_loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_a_killed_run_resumes_bit_for_bit(configured: Callable[..., SftConfig], uninterrupted: SftConfig) -> None:
    config = configured("killed")
    process = launch(config)
    wait_for_steps(process, config, 7)  # past the checkpoint of step 5
    process.send_signal(signal.SIGKILL)
    finish(process, code=-signal.SIGKILL)
    assert len(metrics(config.run_dir)) < STEPS
    shown = finish(launch(config))
    assert "continuing" in shown
    assert [row["step"] for row in metrics(config.run_dir)] == list(range(1, STEPS + 1))
    for ours, theirs in zip(metrics(config.run_dir), metrics(uninterrupted.run_dir), strict=True):
        assert ours["loss"] == theirs["loss"]
    jax.tree.map(
        np.testing.assert_array_equal, open_model(config.run_dir).params, open_model(uninterrupted.run_dir).params
    )


def test_a_second_start_is_one_line_and_does_not_disturb_the_first_which_ctrl_c_stops(
    configured: Callable[..., SftConfig],
) -> None:
    """With what it has learnt saved, and the signal in its exit code."""
    config = configured("twice", steps=1000)
    process = launch(config)
    wait_for_steps(process, config, 1)
    refused = finish(launch(config, "log_every=7"), code=2)
    assert refused.startswith(f"tl-jax: {config.run_dir}: another training is running there (process {process.pid} on ")
    assert refused.count("\n") == 1
    assert "log_every: 1\n" in (config.run_dir / "config.yaml").read_text()
    wait_for_steps(process, config, 3)
    process.send_signal(signal.SIGINT)
    assert "the checkpoint is saved" in finish(process, code=128 + signal.SIGINT)
    assert Run(config, make_mesh(config.mesh)).start >= 3


def test_processes_stop_together_when_one_of_them_is_told(configured: Callable[..., SftConfig]) -> None:
    """Soon, although they meet for nothing else."""
    config = configured("stopped_two", mesh={"fsdp": 2}, steps=10**6, log_every=10**6, checkpoint={"every": 10**6})
    first, second = launch_together(config)
    log = config.run_dir / "log.txt"
    while not log.is_file() or "the first step is done" not in log.read_text():
        assert first.poll() is None
        time.sleep(0.01)
    second.send_signal(signal.SIGTERM)
    assert "the checkpoint is saved" in finish(first, code=143)
    finish(second, code=143)


def test_processes_agree_on_the_older_checkpoint(
    configured: Callable[..., SftConfig], uninterrupted: SftConfig, two: tuple[SftConfig, list[str]]
) -> None:
    """The first one reads and moves them; both go on from the same, and end where an undisturbed run does."""
    config = configured("damaged_two", mesh={"fsdp": 2})
    shutil.copytree(two[0].run_dir, config.run_dir, symlinks=True)
    newest = config.run_dir / "checkpoints" / str(STEPS)
    flip(files(newest / "state" / "d")[0])
    shown = finish_together(launch_together(config))
    assert f"the checkpoint of step {STEPS} is damaged" in shown[0]
    assert f"from step 10 of {STEPS}" in shown[0]
    assert "step" not in shown[1]
    assert check_manifest(newest)
    assert (config.run_dir / "damaged" / str(STEPS)).is_dir()
    assert metrics(config.run_dir)[-1]["loss"] == pytest.approx(metrics(uninterrupted.run_dir)[-1]["loss"], rel=1e-4)


def wait_for_steps(process: subprocess.Popen[str], config: SftConfig, steps: int) -> None:
    while len(metrics(config.run_dir)) < steps:
        assert process.poll() is None
        time.sleep(0.002)


def test_two_processes_equal_one(two: tuple[SftConfig, list[str]], uninterrupted: SftConfig) -> None:
    config, shown = two
    assert "done: 14 steps" in shown[0]
    assert "step" not in shown[1]  # only the first one talks
    ours, theirs = ([row["loss"] for row in metrics(c.run_dir)] for c in (config, uninterrupted))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    one, two = open_model(uninterrupted.run_dir), open_model(config.run_dir)
    assert_trees_close(two.params, one.params, rtol=1e-5)
    assert json.loads((config.run_dir / "environment.json").read_text())["starts"][0]["devices"]["processes"] == 2


def test_a_run_goes_on_with_other_devices(uninterrupted: SftConfig) -> None:
    """What one device saved is restored by eight, parameters and optimizer state, and trains on."""
    one = open_model(uninterrupted.run_dir)
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=4))
    optimizer, _ = make_optimizer(uninterrupted.optimizer, STEPS)
    saved = Checkpoints(uninterrupted.run_dir / "checkpoints", keep=2)
    init = partial(init_state, optimizer=optimizer, seed=0)
    state = saved.restore(STEPS, abstract_state(init, one.params, mesh)).state
    assert state.step == STEPS
    assert len(state.trainable["layers"]["q"].sharding.device_set) == 8
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.trainable), jax.device_get(one.params))
    more = uninterrupted.model_copy(update={"steps": STEPS + 1, "mesh": MeshConfig(data=2, fsdp=1, tensor=4)})
    summary = run_sft(more)
    assert summary["step"] == STEPS + 1
    assert summary["eval_loss"] < metrics(more.run_dir)[0]["loss"]
    assert [row["step"] for row in metrics(more.run_dir)] == list(range(1, STEPS + 2))
