"""Whether a compiled program has room on this machine's devices."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax

GIB = 2**30


def needed(compiled: jax.stages.Compiled) -> int:
    """Bytes of one device that a program takes while it runs: what it reads, gives and lays down in between.

    What is given where arguments lay that are used up counts once.
    """
    stats = compiled.memory_analysis()
    assert stats is not None  # all of XLA's compilers have it
    given = stats.output_size_in_bytes - stats.alias_size_in_bytes
    taken = stats.argument_size_in_bytes + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes
    return int(given + taken)


def available(devices: Sequence[jax.Device]) -> int:
    """Bytes of one device that programs may take. CPU devices share the machine's memory."""
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    return int(limit) if limit else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)


def shortage(compiled: jax.stages.Compiled) -> str | None:
    """A line about a program that has no room here; None if it has."""
    takes, there = needed(compiled), available(jax.local_devices())
    if takes <= there:
        return None
    return (
        f"warning: a step needs {takes / GIB:.2f} GiB on each device, of {there / GIB:.2f} GiB; if memory runs out, "
        '"tl-jax plan --devices this" says what would fit'
    )
