"""Machines by name, as devices that programs can be compiled for: ``v6e:2x4``, ``v6e:2x4:2`` (two slices), ``h100:8``,
or this one."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import jax

from tl_jax.errors import UserError
from tl_jax.registry import Registry
from tl_jax.training.chips import CHIPS, Chip, chip_of
from tl_jax.training.memory import available

PER_HOST = 8
"""GPUs of a node; more come in whole nodes."""
FRACTION = 0.92
"""Share of a GPU's memory that programs may take, as launch/gpu.env sets it; JAX takes 0.75 where nothing is said."""


class PlanError(UserError):
    """A machine that cannot be planned for, or a configuration that cannot be planned."""


@dataclass(frozen=True)
class Machine:
    """Some devices of one kind."""

    name: str
    """as the user wrote it"""
    chip: Chip | None
    """None where its figures are not known, as of a CPU"""
    devices: Sequence[jax.Device]
    memory: int
    """bytes of one device that programs may take"""
    quick: bool = False
    """whether its compiler is to try less hard"""

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What XLA is asked beside the program. Memory is laid out by the same rules, but for other kernels."""
        return {"exec_time_optimization_effort": -1.0} if self.quick else {}

    @property
    def refuses(self) -> bool:
        """Whether its compiler raises where memory is short; others have to be compared with `memory`."""
        return self.devices[0].platform == "tpu"


@dataclass(frozen=True)
class Target:
    """How XLA is told to compile for a chip."""

    name: str
    """of the chip"""
    topology: str = ""
    """TPU: what its topologies are called"""
    options: tuple[tuple[str, str], ...] = ()
    """TPU: further options of the topology"""
    fields: Mapping[str, str] | None = None
    """GPU: fields of XLA's ``GpuDeviceInfoProto`` in which it differs from `_COMMON`; memory and bandwidth are the
    chip's"""


_COMMON = {
    "threads_per_block_limit": "1024",
    "threads_per_warp": "32",
    "shared_memory_per_block": "49152",
    "shared_memory_per_core": "233472",
    "shared_memory_per_block_optin": "232448",
    "threads_per_core_limit": "2048",
    "core_count": "132",
    "fpus_per_core": "128",
    "block_dim_limit_x": "2147483647",
    "block_dim_limit_y": "65535",
    "block_dim_limit_z": "65535",
    "registers_per_core_limit": "65536",
    "registers_per_block_limit": "65536",
    "l2_cache_size": "52428800",
    "clock_rate_ghz": "1.98",
    "cuda_compute_capability": "{ major: 9 feature_extension: ACCELERATED_FEATURES }",
    "driver_version": '"13.0.0"',
    "runtime_version": '"12.8.0"',
    "compile_time_toolkit_version": '"12.8.0"',
    "dnn_version": '"9.10.0"',
}
_AMPERE = {
    "core_count": "108",
    "fpus_per_core": "64",
    "shared_memory_per_core": "167936",
    "shared_memory_per_block_optin": "166912",
    "l2_cache_size": "41943040",
    "clock_rate_ghz": "1.41",
    "cuda_compute_capability": "{ major: 8 }",
}
_ADA = {
    "threads_per_core_limit": "1536",
    "shared_memory_per_core": "102400",
    "shared_memory_per_block_optin": "101376",
    "cuda_compute_capability": "{ major: 8 minor: 9 }",
}

TARGETS: Registry[Target] = Registry(
    "chip",
    [
        Target("v5e", "v5e"),
        Target("v6e", "v6e"),
        Target("v5p", "v5", (("chip_config_name", "megacore"),)),
        Target("v4", "v4", (("chip_config_name", "megacore"),)),
        Target("h100", fields={}),
        Target("h100-pcie", fields={"core_count": "114", "clock_rate_ghz": "1.755"}),
        Target("h200", fields={}),
        Target("a100-40", fields=_AMPERE),
        Target("a100-80", fields=_AMPERE),
        Target("l40s", fields=_ADA | {"core_count": "142", "l2_cache_size": "100663296", "clock_rate_ghz": "2.52"}),
        Target("l4", fields=_ADA | {"core_count": "58", "l2_cache_size": "50331648", "clock_rate_ghz": "2.04"}),
    ],
    columns={
        "`--devices`": lambda target: f"`{target.name}:{_example(target)}`",
        "compiler": lambda target: "`tl-jax[plan-tpu]`" if target.topology else "`tl-jax[plan-gpu]`",
        "memory for programs, GiB": lambda target: f"{_usable(CHIPS[target.name], FRACTION) / 2**30:.1f}",
        "bfloat16 TFLOP/s": lambda target: f"{CHIPS[target.name].flops / 1e12:,.0f}",
        "memory, GB/s": lambda target: f"{CHIPS[target.name].bandwidth / 1e9:,.0f}",
        "links, GB/s": lambda target: f"{CHIPS[target.name].link / 1e9:,.0f}",
        "source": lambda target: f"<{CHIPS[target.name].source}>",
    },
)
"""The chips that can be planned for."""


def open_machine(name: str, quick: bool = False) -> Machine:
    """The machine that users call ``name``: a chip with a topology and a number of slices (TPU) or a number (GPU), or
    ``this``.

    JAX itself runs on the CPU from here on, unless it is this machine.

    Args:
        name: such as ``v6e:2x4``.
        quick: whether its compiler is to try less hard.

    Raises:
        PlanError: no such machine, or its compiler is not installed.
    """
    if name == "this":
        return replace(this_machine(), quick=quick)
    chip, shape, slices = parse(name)
    target = TARGETS[chip.name]
    _needs(target)
    jax.config.update("jax_platforms", "cpu")
    devices = _tpu(target, shape, slices) if target.topology else _gpu(target, shape[0])
    return Machine(name, chip, devices, _usable(chip, _fraction()), quick)


def parse(name: str) -> tuple[Chip, tuple[int, ...], int]:
    """The chip, its topology or number, and how many slices there are.

    Raises:
        PlanError: it says something else.

    Example:
        >>> chip, shape, slices = parse("v6e:2x4:3")
        >>> chip.name, shape, slices
        ('v6e', (2, 4), 3)
    """
    kind, _, rest = name.partition(":")
    rest, several, slices = rest.partition(":")
    target = TARGETS.find(kind)
    if several and not (target.topology and re.fullmatch(r"[1-9]\d{0,2}", slices)):
        raise PlanError(f"--devices {name}: only TPUs come in slices, for instance v5e:4x4:2")
    if not re.fullmatch(r"[1-9]\d{0,3}(x[1-9]\d{0,3}){0,2}", rest):
        raise PlanError(f"--devices {name}: how many? for instance {kind}:{_example(target)}")
    shape = tuple(int(size) for size in rest.split("x"))
    axes = len(_example(target).split("x"))
    if len(shape) != axes:
        wanted = f"a topology of {axes} sizes" if target.topology else "a number"
        raise PlanError(f"--devices {name}: {kind} has {wanted}, for instance {kind}:{_example(target)}")
    if not target.topology and shape[0] > PER_HOST and shape[0] % PER_HOST:
        raise PlanError(f"--devices {name}: more than {PER_HOST} come in whole nodes of {PER_HOST}")
    return CHIPS[kind], shape, int(slices or 1)


def this_machine() -> Machine:
    """The devices that JAX sees here."""
    devices = jax.devices()
    return Machine("this", chip_of(devices[0].device_kind), devices, available(devices))


def _example(target: Target) -> str:
    if not target.topology:
        return "8"
    return "2x2x1" if target.options else "2x4"


def _usable(chip: Chip, fraction: float) -> int:
    target = TARGETS.get(chip.name)
    return chip.memory if target is None or target.topology else int(chip.memory * fraction)


def _fraction() -> float:
    said = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", str(FRACTION))
    with suppress(ValueError):
        if 0 < (fraction := float(said)) < math.inf:
            return fraction
    raise PlanError(f"XLA_PYTHON_CLIENT_MEM_FRACTION={said}: a number above 0 is needed, such as {FRACTION}")


def _needs(target: Target) -> None:
    extra, module = ("plan-tpu", "libtpu") if target.topology else ("plan-gpu", "jax_cuda12_plugin")
    if find_spec(module) is None:
        raise PlanError(
            f"to plan for {target.name} its compiler is needed: pip install 'tl-jax[{extra}]'; no device is, and an "
            "environment of its own will do"
        )


def _tpu(target: Target, shape: tuple[int, ...], slices: int) -> Sequence[jax.Device]:
    # libtpu otherwise asks the network which TPU this is, and lets one process at a time in
    quiet = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    for key, value in (quiet | {"TPU_ACCELERATOR_TYPE": "v5litepod-8", "TPU_STDERR_LOG_LEVEL": "3"}).items():
        os.environ.setdefault(key, value)
    name = f"{target.topology}:{'x'.join(map(str, shape))}"
    more: dict[str, Any] = dict(target.options)
    if math.prod(shape) == 1:
        more["chips_per_host_bounds"] = (1, 1, 1)  # else hosts have 2 x 2
    if slices > 1:
        more["num_slices"] = slices
    return _topology(name, slices * math.prod(shape), platform="tpu", topology_name=name, **more)


def _gpu(target: Target, count: int) -> Sequence[jax.Device]:
    chip, hosts = CHIPS[target.name], max(count // PER_HOST, 1)
    fields = {
        **_COMMON,
        **(target.fields or {}),
        "memory_bandwidth": f"{chip.bandwidth:.0f}",
        "device_memory_size": str(chip.memory),
    }
    info = " ".join(f"{key}{'' if value.startswith('{') else ':'} {value}" for key, value in fields.items())
    config = (
        f'gpu_device_info {{ {info} }} platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }} '
        f'device_description_str: "{chip.kind}"'
    )
    topology = f"1x{hosts}x{count // hosts}"
    return _topology(topology, count, platform="cuda", target_config=config, topology=topology)


def _topology(name: str, count: int, **arguments: Any) -> Sequence[jax.Device]:
    from jax.experimental import topologies  # loads the compilers

    try:
        devices: Sequence[jax.Device] = topologies.get_topology_desc(**arguments).devices
    except Exception as error:  # each compiler has its own
        raise PlanError(f"the compiler knows no topology {name}: {str(error).splitlines()[0]}") from error
    if len(devices) != count:
        raise PlanError(f"topology {name} has {len(devices)} devices, not {count}")
    return devices
