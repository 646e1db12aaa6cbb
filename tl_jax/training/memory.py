"""Whether a compiled program has room on this machine's devices."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import jax

from tl_jax.model.host_memory import is_in_host_memory

GIB = 2**30


def bytes_on_device(tree: Any) -> float:
    """Of one device, for placed arrays or abstract ones; nothing where they lie in the host's memory."""
    here = (leaf for leaf in jax.tree.leaves(tree) if not is_in_host_memory(leaf))
    return float(sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in here))


def needed(compiled: jax.stages.Compiled, there: Any = ()) -> int:
    """Bytes of one device that a program takes while it runs: what it reads, gives and lays down in between.

    What is given where arguments lay that are used up counts once.

    Args:
        compiled: the program.
        there: its arguments, or arrays in their places, if some lie on the devices that it does not read.
    """
    stats = compiled.memory_analysis()
    assert stats is not None  # all of XLA's compilers have it
    given = stats.output_size_in_bytes - stats.alias_size_in_bytes
    read = max(stats.argument_size_in_bytes, bytes_on_device(there))
    return int(given + read + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes)


def available(devices: Sequence[jax.Device]) -> int:
    """Bytes of one device that programs may take. CPU devices share the machine's memory."""
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    return int(limit) if limit else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices)


def shortage(takes: int) -> str | None:
    """A line about a step that takes so many bytes of each device, which has no room for them; None if it has."""
    there = available(jax.local_devices())
    if takes <= there:
        return None
    return (
        f"warning: a step needs {takes / GIB:.2f} GiB on each device, of {there / GIB:.2f} GiB; if memory runs out, "
        '"tl-jax plan --devices this" says what would fit'
    )
