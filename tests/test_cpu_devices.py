"""How many devices the processor is, and that many programs begun at once all end on them."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from tests.processes import finish, run_python
from tests.xla_flags import xla_flags
from tl_jax.cli import main
from tl_jax.cpu_devices import cpu_devices, give_threads

FORCE = "--xla_force_host_platform_device_count"


@pytest.mark.parametrize(
    ("flags", "count", "devices"),
    [
        ("", "", 1),
        ("--xla_cpu_multi_thread_eigen=false", "", 1),
        (f"{FORCE}=2 {FORCE}=4", "", 4),  # the last one counts
        ("", "3", 3),
        (f"{FORCE}=1", "2", 2),
    ],
)
def test_devices_of_either_setting(flags: str, count: str, devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", count)
    monkeypatch.delenv("NPROC", raising=False)
    assert cpu_devices() == devices
    give_threads()
    assert (int(os.environ.get("NPROC", "0")) >= 2 * devices) == (devices > 1)
    monkeypatch.setenv("NPROC", "5")  # what the user has chosen
    give_threads()
    assert os.environ["NPROC"] == "5"


def test_a_number_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every command, for all ask; an empty one is none at all, as for JAX."""
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "two")
    shown = CliRunner().invoke(main, ["config", "world"])
    assert (shown.exit_code, shown.stderr) == (2, "tl-jax: JAX_NUM_CPU_DEVICES='two': has to be a whole number\n")


PROGRAMS = """
import os
del os.environ["NPROC"]  # of the tests
from tl_jax.cli import main
from tl_jax.cpu_devices import give_threads
give_threads()
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((8,), ("x",))
add_up = jax.jit(jax.shard_map(lambda x: jax.lax.psum(x @ x, "x") / 512, mesh=mesh, in_specs=P(), out_specs=P()))
x = jax.device_put(jnp.ones((64, 64)), NamedSharding(mesh, P()))
for _ in range(4):
    begun = [add_up(x) for _ in range(25)]
    for _ in range(25):
        begun.append(add_up(begun[-1]))
    jax.block_until_ready(begun)
"""


@pytest.mark.slow
@pytest.mark.jax
def test_more_programs_begun_than_a_device_takes_all_end() -> None:
    """On two cores and with XLA's own number of threads this stands still for ever."""
    flags = f"{xla_flags(devices=8)} --xla_cpu_collective_call_terminate_timeout_seconds=60"  # the last one counts
    finish(run_python("-c", PROGRAMS, XLA_FLAGS=flags))
