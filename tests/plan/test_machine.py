"""Machines by name."""

from __future__ import annotations

import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tl_jax.config import MeshConfig
from tl_jax.errors import UserError
from tl_jax.model.sharding import make_mesh
from tl_jax.plan import machine
from tl_jax.plan.machine import TARGETS, PlanError, open_machine, parse
from tl_jax.training.chips import CHIPS


@pytest.mark.parametrize(
    ("name", "shape", "slices"),
    [
        ("v5e:2x4", (2, 4), 1),
        ("v5e:2x4:2", (2, 4), 2),
        ("v5p:2x2x1", (2, 2, 1), 1),
        ("h100:1", (1,), 1),
        ("a100-40:16", (16,), 1),
    ],
)
def test_names(name: str, shape: tuple[int, ...], slices: int) -> None:
    assert parse(name) == (CHIPS[name.partition(":")[0]], shape, slices)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("h10:8", "unknown chip 'h10'; did you mean 'h100'?"),
        ("h100", "--devices h100: how many? for instance h100:8"),
        ("v5e:", "how many? for instance v5e:2x4"),
        ("v5e:8", "v5e has a topology of 2 sizes, for instance v5e:2x4"),
        ("v5p:2x2", "v5p has a topology of 3 sizes"),
        ("h100:2x4", "h100 has a number, for instance h100:8"),
        ("h100:12", "more than 8 come in whole nodes of 8"),
        ("h100:0", "how many?"),
        ("h100:8:2", "only TPUs come in slices, for instance v5e:4x4:2"),
        ("v5e:2x4:0", "only TPUs come in slices"),
    ],
)
def test_wrong_names(name: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        parse(name)
    assert told in str(error.value)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_target_is_a_chip_and_either_kind(target: machine.Target) -> None:
    assert target.name in CHIPS
    assert bool(target.topology) != (target.fields is not None)


@pytest.mark.parametrize(("name", "extra"), [("v6e:2x2", "plan-tpu"), ("h200:1", "plan-gpu")])
def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda module: None)
    with pytest.raises(PlanError, match=rf"pip install 'tl-jax\[{extra}\]'; no device is"):
        open_machine(name)


def test_gradients_alone_leave_a_slice() -> None:
    """They are summed within each slice first; what leaves it has the size of a device's share."""
    try:
        devices = open_machine("v5e:2x4:2").devices
    except PlanError as missing:
        pytest.skip(str(missing))
    mesh = make_mesh(MeshConfig(data=2), devices)
    cut, rows = (NamedSharding(mesh, PartitionSpec(axes)) for axes in ("fsdp", ("data", "fsdp")))
    w = jax.ShapeDtypeStruct((1024, 512), jnp.float32, sharding=cut)
    x = jax.ShapeDtypeStruct((64, 1024), jnp.float32, sharding=rows)
    grad = jax.jit(jax.grad(lambda w, x: ((x @ w) ** 2).sum()), out_shardings=cut)
    text = grad.lower(w, x).compile().as_text() or ""
    (shape,) = re.findall(r"= \(f32\[([\d,]+)\].* send\(.*xla_megascale_runtime", text)
    assert math.prod(map(int, shape.split(","))) == 1024 * 512 // 8


def test_this_machine_shares_its_memory_among_its_devices() -> None:
    here = open_machine("this")
    assert list(here.devices) == jax.devices()
    assert here.chip is None
    assert 2**26 < here.memory * len(here.devices) < 2**50
    assert not here.refuses


def test_the_share_of_a_gpus_memory_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    assert machine._usable(CHIPS["h100"], machine._fraction()) == CHIPS["h100"].memory // 2
    assert machine._usable(CHIPS["v5e"], machine._fraction()) == CHIPS["v5e"].memory


@pytest.mark.parametrize("share", ["most", "", "nan", "inf", "0", "-1"])
def test_a_share_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", share)
    with pytest.raises(PlanError, match=r"XLA_PYTHON_CLIENT_MEM_FRACTION=.*: a number above 0"):
        machine._fraction()


def test_a_machine_may_be_asked_for_less_effort() -> None:
    assert open_machine("this", quick=True).compiler_options == {"exec_time_optimization_effort": -1.0}
    assert open_machine("this").compiler_options == {}
