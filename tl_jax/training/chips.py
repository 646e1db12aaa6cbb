"""What a device can do, by the vendors' data sheets: the figures behind MFU and behind `tl_jax.plan`."""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.registry import Registry

GB = 10**9
GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device, as JAX counts them."""

    name: str
    """what users write: ``h100``"""
    kind: str
    """what its `jax.Device.device_kind` contains; the first record whose text is found there is the device's"""
    flops: float
    """dense bfloat16 operations per second"""
    wide_flops: float
    """the same for float32 products as JAX computes them by default: TF32 on NVIDIA, one bfloat16 pass on a TPU"""
    memory: int
    """bytes; of a TPU, what its compiler gives to programs"""
    bandwidth: float
    """bytes per second from its memory"""
    link: float
    """bytes per second that it can send to the other devices of its node or slice"""
    source: str
    """where the figures are from"""


_NVIDIA = "https://www.nvidia.com/en-us/data-center/"
_GOOGLE = "https://cloud.google.com/tpu/docs/"

CHIPS: Registry[Chip] = Registry(
    "chip",
    [
        Chip("b200", "B200", 2250e12, 1100e12, 180 * GB, 7700e9, 900e9, _NVIDIA + "dgx-b200"),
        Chip("h200", "H200", 989e12, 495e12, 150754820096, 4800e9, 450e9, _NVIDIA + "h200"),
        Chip("h100-pcie", "H100 PCIe", 756e12, 378e12, 80 * GIB, 2000e9, 64e9, _NVIDIA + "h100"),
        Chip("h100", "H100", 989e12, 495e12, 84942979072, 3352e9, 450e9, _NVIDIA + "h100"),
        Chip("a100-40", "A100-SXM4-40GB", 312e12, 156e12, 42297786368, 1555e9, 300e9, _NVIDIA + "a100"),
        Chip("a100-80", "A100", 312e12, 156e12, 84987740160, 2039e9, 300e9, _NVIDIA + "a100"),
        Chip("l40s", "L40S", 362e12, 183e12, 47 * GB, 864e9, 32e9, _NVIDIA + "l40s"),
        Chip("l4", "L4", 121e12, 60e12, 24 * GB, 300e9, 32e9, _NVIDIA + "l4"),
        Chip("tpu7x", "TPU7x", 2307e12, 2307e12, 192 * GB, 7380e9, 600e9, _GOOGLE + "tpu7x"),
        Chip("v6e", "TPU v6 lite", 918e12, 918e12, int(31.25 * GIB), 1640e9, 400e9, _GOOGLE + "v6e"),
        Chip("v5e", "TPU v5 lite", 197e12, 197e12, int(15.75 * GIB), 819e9, 200e9, _GOOGLE + "v5e"),
        Chip("v5p", "TPU v5", 459e12, 459e12, int(95.74 * GIB), 2765e9, 600e9, _GOOGLE + "v5p"),
        Chip("v4", "TPU v4", 275e12, 275e12, int(30.75 * GIB), 1228e9, 300e9, _GOOGLE + "v4"),
    ],
    columns={
        "chip": lambda chip: f"`{chip.name}`",
        "bfloat16 TFLOP/s": lambda chip: f"{chip.flops / 1e12:,.0f}",
        "float32 TFLOP/s": lambda chip: f"{chip.wide_flops / 1e12:,.0f}",
        "memory, GiB": lambda chip: f"{chip.memory / GIB:.1f}",
        "memory, GB/s": lambda chip: f"{chip.bandwidth / 1e9:,.0f}",
        "links, GB/s": lambda chip: f"{chip.link / 1e9:,.0f}",
        "source": lambda chip: f"<{chip.source}>",
    },
)


def chip_of(device_kind: str) -> Chip | None:
    """The record of a device by `jax.Device.device_kind`; None where there is none, as for a CPU.

    Example:
        >>> chip_of("NVIDIA H100 80GB HBM3").name
        'h100'
        >>> chip_of("cpu") is None
        True
    """
    return next((chip for chip in CHIPS.values() if chip.kind in device_kind), None)
