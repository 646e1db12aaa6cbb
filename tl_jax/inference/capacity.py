"""How many answers are written at once, by the memory that is left."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from tl_jax.inference.buckets import bucket, bucket_within, sixteens
from tl_jax.model.cache import CacheLayout
from tl_jax.model.kv_dtype import bytes_of_head
from tl_jax.model.sharding import batch_devices

SHARE = 0.85
"""Of the free memory that answers may take: programs have code, and memory has gaps."""
KEPT = 0.5
"""Of the free memory that conversations may take between two answers."""
WAVE = 0.25
"""Prompts that are read at once, of those whose answers are written at once."""
FEW = 8
"""Prompts on a device that are read at once however few answers are, if they are short: to keep it busy."""
SHORT = 1024
"""Tokens of such prompts together."""


def answers_of_group(same: int, at_once: int, spread: int, prompt: int, answer: int) -> int:
    """How many slots read one copy of their prompt's keys and values.

    They begin together, and none of them takes the next prompt before all have ended: that is worth it where prompts
    are longer than answers may become.

    Args:
        same: answers to each prompt.
        at_once: answers that are written at once, over all devices.
        spread: over how many devices they are spread.
        prompt: tokens of the longest.
        answer: tokens of the longest.

    Example:
        >>> answers_of_group(8, 128, 8, 1024, 512), answers_of_group(8, 32, 8, 1024, 512)
        (8, 4)
        >>> answers_of_group(8, 128, 8, 256, 512)
        1
        >>> answers_of_group(8, 4, 8, 1024, 512)  # fewer than devices
        1
    """
    return math.gcd(same, max(at_once // spread, 1)) if prompt >= answer else 1


class AtOnce(NamedTuple):
    """Answers that are written at once."""

    answers: int
    """over all devices"""
    group: int
    """of them that share a prompt's keys and values"""


def answers_at_once(
    asked: int | str | None,
    count: int,
    same: int,
    spread: int,
    prompt: int,
    answer: int,
    fitting: Callable[[int], int],
) -> AtOnce:
    """As many as are ``asked`` for, or as fit.

    Args:
        asked: ``sampling.batch_size``: None = all; ``auto`` = as many as fit.
        count: answers that there are to write.
        fitting: how many fit in groups of so many, by `rows_that_fit`.

    The others are those of `answers_of_group`.
    """
    if asked == "auto":
        asked = fitting(answers_of_group(same, count, spread, prompt, answer))
    answers = min(int(asked or count), count)
    return AtOnce(answers, answers_of_group(same, answers, spread, prompt, answer))


def prompts_at_once(groups: int, spread: int, length: int) -> int:
    """How many prompts are read at once.

    Args:
        groups: of slots, over all devices; each takes a prompt.
        spread: over how many devices rows are spread.
        length: tokens of the longest of them.

    Example:
        >>> [prompts_at_once(8, 1, length) for length in (64, 256, 4096)]
        [8, 4, 2]
    """
    return min(max(math.ceil(groups * WAVE), min(FEW, SHORT // length) * spread), groups)


def rows_that_fit(
    layout: CacheLayout, mesh: Mesh | None, prompt: int, answer: int, itemsize: int, free: float, group: int = 1
) -> int:
    """How many answers, over all devices, fit into ``free`` bytes of each; at least one for each copy of the model.

    Counted are keys and values, what a layer computes of a prompt, and float32 scores of the vocabulary. Where no whole
    group fits, a part of it does that divides it.

    Args:
        layout: of the cache of the model whose answers they are.
        mesh: of `serving_mesh`; None = one device.
        prompt: tokens of the longest.
        answer: tokens of the longest.
        itemsize: bytes of a number of the computation.
        free: bytes of a device.
        group: answers that share a prompt's keys and values, see `answers_of_group`.
    """
    tensor, rows = (1, 1) if mesh is None else (mesh.shape["tensor"], batch_devices(mesh))
    model, place = layout.config, place_bytes(layout, mesh)
    hidden = model.hidden_size * (3 * itemsize + 2 * 4)  # residual, normed, added; a norm computes in float32
    inner = (2 * model.intermediate_size + 3 * model.num_heads * model.head_dim) * itemsize / tensor
    scores = 4 * 4 * model.vocab_size  # logits, divided by the temperature, filtered, sorted
    of_prompt = bucket(prompt, smallest=16) * (place + WAVE * (place + hidden + inner))
    of_answer = sixteens(answer) * place + scores

    def fitting(sharing: int) -> int:
        return int(SHARE * free / (of_prompt + sharing * of_answer))

    sharing = next((part for part in range(group, 1, -1) if group % part == 0 and fitting(part) >= 1), 1)
    return bucket_within(max(fitting(sharing), 1)) * sharing * rows


def rows_kept(layout: CacheLayout, mesh: Mesh | None, places: int, free: float) -> int:
    """How many conversations, over all devices, may be kept between two answers, none of them longer than ``places``.

    The arguments are those of `rows_that_fit`.
    """
    fitting = int(KEPT * free / (places * place_bytes(layout, mesh)))
    return (bucket_within(fitting) if fitting else 0) * (1 if mesh is None else batch_devices(mesh))


def place_bytes(layout: CacheLayout, mesh: Mesh | None) -> float:
    """Keys and values of one token on each device that holds some of them."""
    model, tensor = layout.config, 1 if mesh is None else mesh.shape["tensor"]
    return 2 * model.num_layers * model.num_kv_heads * bytes_of_head(model.head_dim, layout.dtype) / tensor


def free_memory(devices: Sequence[jax.Device]) -> int:
    """Bytes of one device that nothing lies in yet, the least of all processes. CPU devices share the machine's."""
    found = min(_free(device, len(devices)) for device in devices)
    if jax.process_count() > 1:
        found = int(np.min(multihost_utils.process_allgather(np.float64(found))))
    return found


def _free(device: jax.Device, sharing: int) -> int:
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return _host_memory() // sharing


def _host_memory() -> int:
    """Bytes that the machine could still give; what its files are cached in counts as free."""
    lines = Path("/proc/meminfo").read_text().splitlines() if os.path.exists("/proc/meminfo") else []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
