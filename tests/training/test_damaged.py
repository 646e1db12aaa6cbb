"""Checkpoints that a disk or a hand has damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.damage import DAMAGES, cut, files, flip
from tests.training.test_run import INIT, open_run, same
from tl_jax.config import SftConfig
from tl_jax.manifest import MANIFEST
from tl_jax.model.directory import CheckpointError
from tl_jax.model.store import open_model
from tl_jax.training.checkpoint import Checkpoints, Record, ResumeError
from tl_jax.training.damaged import newest_whole, set_aside

STATE = {"x": jnp.arange(2000, dtype=jnp.float32), "y": {"z": jnp.ones((8, 8), jnp.bfloat16)}}
TARGET = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), STATE)
WRITTEN_LATER = ("4/_CHECKPOINT_METADATA", "4/commit_success.txt")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 2 and 4."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(directory, keep=3)
    for step in (2, 4):
        checkpoints.save(step, STATE, Record({"next": step}, {}))
    checkpoints.close()
    return directory


def damaged_copies(saved: Path, tmp_path: Path, kinds: int) -> list[tuple[Path, str]]:
    """Of every file that step 4 has, some damages: a copy of the directory each, and which file it is."""
    copies = []
    for index, file in enumerate(files(saved / "4")):
        for number in range(kinds):
            copy = tmp_path / str(len(copies))
            shutil.copytree(saved, copy)
            DAMAGES[(index + number) % len(DAMAGES)](copy / file.relative_to(saved))
            copies.append((copy, file.relative_to(saved).as_posix()))
    return copies


def check_older_is_used(copies: list[tuple[Path, str]]) -> None:
    for copy, name in copies:
        step, problems = newest_whole(copy)
        if name in WRITTEN_LATER or (name == f"4/{MANIFEST}" and not (copy / name).exists()):
            assert step == 4  # nothing is read from it; and without checksums nothing can be told
        else:
            assert (step, list(problems)) == (2, [4]), name
            assert str(copy / name) in problems[4] or name == f"4/{MANIFEST}"


def test_damage_is_noticed_and_the_older_one_used(saved: Path, tmp_path: Path) -> None:
    assert newest_whole(saved) == (4, {})
    check_older_is_used(damaged_copies(saved, tmp_path, 1))


@pytest.mark.slow
def test_every_damage_is_noticed_and_the_older_one_used(saved: Path, tmp_path: Path) -> None:
    check_older_is_used(damaged_copies(saved, tmp_path, len(DAMAGES)))


@pytest.mark.slow
def test_what_is_read_all_the_same_is_an_error_of_one_line_or_a_state(saved: Path, tmp_path: Path) -> None:
    """Without checksums: no traceback, whatever is damaged."""
    read = []
    for copy, name in damaged_copies(saved, tmp_path, len(DAMAGES)):
        checkpoints = Checkpoints(copy, keep=3)
        try:
            read.append(checkpoints.restore(4, TARGET).record)
        except ResumeError as error:
            assert str(copy / "4") in str(error)  # noqa: PT017
            assert "\n" not in str(error), name  # noqa: PT017
        checkpoints.close()
    assert len(read) > 0


def test_all_are_damaged(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run" / "checkpoints")
    for step in (2, 4):
        cut(files(tmp_path / "run" / "checkpoints" / str(step) / "state" / "d")[0])
    step, problems = newest_whole(tmp_path / "run" / "checkpoints")
    assert (step, list(problems)) == (None, [4, 2])
    for _ in range(2):
        home = set_aside(tmp_path / "run" / "checkpoints", [4])
        shutil.copytree(saved / "4", tmp_path / "run" / "checkpoints" / "4")
    assert sorted(path.name for path in home.iterdir()) == ["4", "4.1"]


def run_with_two(config: SftConfig) -> Any:
    """A run that was saved after steps 2 and 4, and the state of step 2."""
    run = open_run(config)
    state, _ = run.begin(INIT)
    moved = jax.device_get(replace(state, trainable=jax.tree.map(lambda x: x + 7, state.trainable)))
    with run:
        run.save(2, moved, {"at": 2})
        run.save(4, state, {"at": 4})
    return moved


def test_a_run_goes_on_from_the_older_one(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config()
    moved = run_with_two(config)
    broken = files(config.run_dir / "checkpoints" / "4" / "state" / "d")[0]
    flip(broken)
    with pytest.raises(CheckpointError, match=r"checksum differs.*the one of step 2 is used.*--no-verify"):
        open_model(config.run_dir)
    run = open_run(config)
    assert run.start == 2
    assert broken.exists()  # until the run begins, nothing is changed
    restored, position = run.begin(INIT)
    same(restored, moved)
    assert position == {"at": 2}
    with run:
        run.save(4, moved, {"at": 4})
    told = (config.run_dir / "log.txt").read_text()
    assert f"the checkpoint of step 4 is damaged and now in {config.run_dir / 'damaged'}: {broken}: other bytes" in told
    assert (config.run_dir / "damaged" / "4" / "state").is_dir()
    again = open_run(config)
    assert again.start == 4
    same(again.begin(INIT)[0], moved)


def test_a_run_opened_without_looking(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config()
    run_with_two(config)
    flip(config.run_dir / "checkpoints" / "4" / "record" / "metadata")
    with pytest.raises(CheckpointError, match="record/metadata: other bytes"):
        open_model(config.run_dir)
    open_model(config.run_dir, verify=False)  # nothing that it reads is damaged


def test_no_whole_checkpoint(sft_config: Callable[..., SftConfig]) -> None:
    config = sft_config()
    run_with_two(config)
    for step in (2, 4):
        flip(files(config.run_dir / "checkpoints" / str(step) / "state" / "d")[0])
    with pytest.raises(ResumeError, match=r"No checkpoint of the run is whole: choose another run_dir, or try check"):
        open_run(config)
    assert open_run(sft_config(checkpoint__verify=False)).start == 4


def test_weights_that_are_no_numbers(model_dir: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model_dir, tmp_path / "hf")
    file = tmp_path / "hf" / "model.safetensors"
    for name, value in (("model.layers.1.mlp.up_proj.weight", np.nan), ("model.norm.weight", -np.inf)):
        tensors = load_file(model_dir / "model.safetensors")
        tensors[name].reshape(-1)[3] = value
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=rf"hf: {name} holds NaN or infinity"):
            open_model(tmp_path / "hf")
        open_model(tmp_path / "hf", verify=False)
