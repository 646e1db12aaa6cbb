"""Backends come from a table that the configuration reads too; shapes are checked before any of them runs."""

from __future__ import annotations

import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.attention.inputs import inputs, packed_mask
from tl_jax.config import ConfigError, MeshConfig, ModelConfig, SftConfig, annotated_yaml, load_config
from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.errors import UserError
from tl_jax.model.attention import AttentionMask, attention, dispatch
from tl_jax.model.sharding import make_mesh
from tl_jax.plan.machine import PlanError, open_machine
from tl_jax.plugins import resolve


def mean_of_values(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    return jnp.broadcast_to(value.mean(axis=(1, 2), keepdims=True), query.shape)


def test_every_backend_of_the_table_is_there() -> None:
    assert all(callable(resolve(backend.function)) for backend in BACKENDS.values())


def test_a_backend_from_outside_is_a_record() -> None:
    arrays, mask = inputs(1, 8, 2, 1, 4), packed_mask(1, 8)
    with BACKENDS.added(Backend("mean", mean_of_values, "anything", "nothing")):
        np.testing.assert_allclose(attention(*arrays, mask, "mean"), mean_of_values(*arrays, mask))
        assert ModelConfig(path=Path("m"), attention="mean").attention == "mean"
        assert "auto | xla | cudnn | splash | mean" in annotated_yaml(SftConfig)
    with pytest.raises(ConfigError, match=r"model\.attention.*did you mean 'splash'"):
        load_config(SftConfig, (), ("model.path=m", "model.attention=spalsh", "data.train=x"))
    with pytest.raises(UserError, match="unknown attention backend 'mean'"):
        attention(*arrays, mask, "mean")


def test_auto_takes_what_can_and_says_why_none_faster(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here `xla`; as on a GPU the first of its backends that nothing speaks against."""
    caplog.set_level(logging.INFO, "tl_jax")
    arrays, mask = inputs(1, 8, 2, 1, 4), packed_mask(1, 8)
    portable = attention(*arrays, mask, "xla")
    np.testing.assert_array_equal(attention(*arrays, mask, "auto"), portable)
    monkeypatch.setattr(dispatch, "platform", lambda: "gpu")
    np.testing.assert_array_equal(attention(*arrays, mask, "auto"), portable)
    with BACKENDS.added(Backend("mean", mean_of_values, "anything", "nothing", fastest_on="gpu")):
        np.testing.assert_allclose(attention(*arrays, mask, "auto"), mean_of_values(*arrays, mask))
    why = "cudnn needs an NVIDIA GPU, not 'cpu'"
    assert caplog.messages == [f"attention runs as {x}" for x in ("xla", f"xla: {why}", f"mean: {why}")]


@pytest.mark.parametrize(("machine", "kernel"), [("v6e:2x4", "splash"), ("h100:2", "cudnn"), ("this", "xla")])
def test_auto_asks_the_devices_of_the_mesh(machine: str, kernel: str, caplog: pytest.LogCaptureFixture) -> None:
    """Which need not be those of this machine."""
    try:
        devices = open_machine(machine).devices
    except PlanError as missing:
        pytest.skip(str(missing))
    mesh = make_mesh(MeshConfig(), devices)
    arrays = [jax.ShapeDtypeStruct((len(devices), 128, 2, 64), jnp.bfloat16)] * 3
    ids = jax.ShapeDtypeStruct((len(devices), 128), jnp.int32)
    caplog.set_level(logging.INFO, "tl_jax")
    with jax.set_mesh(mesh):
        jax.jit(lambda *x: attention(*x, "auto")).trace(*arrays, AttentionMask(ids, ids, ids, ids))
    assert caplog.messages == [f"attention runs as {kernel}"]


@pytest.mark.parametrize("wrong", ["key", "mask"])
def test_shapes_that_do_not_fit_are_an_error(wrong: str) -> None:
    query, key, value = inputs(1, 8, 2, 1, 4)
    with pytest.raises(AssertionError):
        attention(query, key[:, :4] if wrong == "key" else key, value, packed_mask(1, 9 if wrong == "mask" else 8))
