"""Several devices that the processor is told to be: how many, and threads enough for XLA to run programs on them."""

from __future__ import annotations

import os
import re

from tl_jax.errors import UserError

THREADS_A_DEVICE = 8
"""One runs a program, and one waits for each thread of ours that starts a 33rd (see `give_threads`)."""


def cpu_devices() -> int:
    """How many devices ``XLA_FLAGS`` or ``JAX_NUM_CPU_DEVICES`` make of the processor.

    Raises:
        UserError: the second is no number.
    """
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    count = os.environ.get("JAX_NUM_CPU_DEVICES") or "1"
    try:
        return max(map(int, [*found[-1:], count]))
    except ValueError:
        raise UserError(f"JAX_NUM_CPU_DEVICES={count!r}: has to be a whole number") from None


def give_threads() -> None:
    """Lets XLA have threads enough where the processor is several devices; call before anything touches a device.

    XLA starts a program on each device from a thread of its pool, and has it wait there while 32 programs of that
    device are begun. By default the pool has a thread a device, on few cores: one that waits to start a program is then
    missing for one that is begun, whose collectives wait for it for ever. A ``NPROC`` of the user's stands.
    """
    if (devices := cpu_devices()) > 1:
        os.environ.setdefault("NPROC", str(max(THREADS_A_DEVICE * devices, os.cpu_count() or 1)))
