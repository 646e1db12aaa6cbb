"""Checkpoints: what comes back, where it may be placed, when a run may start."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.freed_pieces import goes_back, needs_glibc
from tl_jax.config import MeshConfig, OptimizerConfig
from tl_jax.model.sharding import make_mesh, shard_tree
from tl_jax.training.checkpoint import Checkpoints, Record, ResumeError, WriteError, abstract, restart_step
from tl_jax.training.compile import abstract_state, start_state
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.state import init_state

RECORD = Record(data={"next": 12}, config={"seed": 1, "data": {"path": "a.jsonl"}}, frozen="0123")


@pytest.fixture
def optimizer() -> Any:
    return make_optimizer(OptimizerConfig(), 10)[0]


def assert_same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))


def test_a_state_moves_between_numbers_of_devices(params: Any, optimizer: Any, tmp_path: Path) -> None:
    """Written by eight devices, read by one, and the other way round."""
    single = init_state(params, optimizer, seed=5)
    single = replace(single, step=jnp.int32(3), opt_state=jax.tree.map(lambda x: x + 1, single.opt_state))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    on_one = abstract(single, jax.tree.map(lambda _: one, single))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    on_eight = abstract_state(partial(init_state, optimizer=optimizer, seed=5), params, mesh)
    state = jax.device_put(single, jax.tree.map(lambda leaf: leaf.sharding, on_eight))
    for name, target in (("first", on_one), ("second", on_eight)):
        saved = Checkpoints(tmp_path / name, keep=2)
        saved.save(3, state, RECORD)
        saved.close()
        restored = Checkpoints(tmp_path / name, keep=2).restore(3, target)
        assert_same(restored.state, single)
        placed = jax.tree.map(
            lambda leaf, wanted: leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), restored.state, target
        )
        assert all(jax.tree.leaves(placed))
        assert restored.record == RECORD
        state = restored.state
    assert len(state.trainable["layers"]["gate"].sharding.device_set) == 8


def test_nothing_is_compiled_to_save_small_arrays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Although every device has all of them and could write a slice, by a program for each shape."""
    everywhere = jax.sharding.NamedSharding(make_mesh(MeshConfig(data=8, fsdp=1)), jax.P())
    state = {str(size): jax.device_put(np.zeros((size, 8), np.float32), everywhere) for size in (24, 40)}
    saved = Checkpoints(tmp_path, keep=1)
    with jax.log_compiles():
        saved.save(1, state, RECORD)
        saved.close()
    assert not [record.message for record in caplog.records if "ompil" in record.message]


def test_what_is_saved_is_the_state_at_that_moment(optimizer: Any, tmp_path: Path) -> None:
    """A donated buffer may be overwritten while the background write goes on."""
    params = {"lm_head": jnp.ones((256, 256))}
    state = init_state(params, optimizer, 0)
    advance = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    saved = Checkpoints(tmp_path / "checkpoints", keep=9)
    for step in range(1, 6):
        state = advance(state)
        saved.save(step, state, RECORD)
    saved.close()
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    for step in range(1, 6):
        restored = Checkpoints(tmp_path / "checkpoints", keep=9).restore(step, target).state
        np.testing.assert_array_equal(restored.trainable["lm_head"], np.full((256, 256), 1.0 + step))


def test_one_that_could_not_be_written_is_written_when_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, saved = {"w": jnp.ones(8)}, Checkpoints(tmp_path / "c", keep=2)
    saved.save(1, state, RECORD)
    saved.wait()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("tl_jax.training.checkpoint.write_manifest", full)
        saved.save(2, state, RECORD)
        with pytest.raises(WriteError, match="No space left on device"):
            saved.wait()
    assert saved.newest == 1
    saved.save(2, state, RECORD)
    saved.close()
    assert Checkpoints(tmp_path / "c", keep=2).newest == 2


@needs_glibc
def test_what_packed_one_goes_back_to_the_system(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path / "checkpoints", keep=1)
    with goes_back():
        saved.save(1, {"x": jnp.ones(3)}, RECORD)
        saved.wait()
    saved.close()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (2, 4, 6):
        saved.save(step, {"x": jnp.ones(3)}, RECORD)
    saved.save(6, {"x": jnp.zeros(3)}, RECORD)  # this step has a checkpoint: nothing happens
    saved.close()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()) == ["4", "6"]
    target = {"x": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=jnp.ones(3).sharding)}
    np.testing.assert_array_equal(Checkpoints(tmp_path / "checkpoints", keep=2).restore(6, target).state["x"], 1)


def test_another_model_is_refused(params: Any, optimizer: Any, tmp_path: Path) -> None:
    mesh = make_mesh(MeshConfig())
    saved = Checkpoints(tmp_path / "checkpoints", keep=1)
    init = partial(init_state, optimizer=optimizer, seed=0)
    saved.save(1, start_state(init, shard_tree(params, mesh), mesh), RECORD)
    saved.close()
    other = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    other["layers"] = {name: jax.ShapeDtypeStruct((3, *x.shape[1:]), x.dtype) for name, x in other["layers"].items()}
    with pytest.raises(ResumeError, match=r"checkpoints/1: cannot be continued with this configuration"):
        Checkpoints(tmp_path / "checkpoints", keep=1).restore(1, abstract_state(init, other, mesh))


def test_resume_says_when_a_run_may_start(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    for resume in ("auto", "never"):
        assert restart_step(directory, resume) is None  # type: ignore[arg-type]
    with pytest.raises(ResumeError, match="no finished checkpoint"):
        restart_step(directory, "must")
    assert not directory.exists()
    saved = Checkpoints(directory, keep=1)
    saved.save(8, {"x": jnp.ones(3)}, RECORD)
    saved.close()
    (directory / "9.orbax-checkpoint-tmp-1").mkdir()  # a write that was killed
    for resume in ("auto", "must"):
        assert restart_step(directory, resume) == 8  # type: ignore[arg-type]
    with pytest.raises(ResumeError, match=r"already has a checkpoint of step 8 .*choose another run_dir"):
        restart_step(directory, "never")
