"""Every attention backend that runs here against the portable one in float32, and what each costs.

    python benchmarks/attention.py [--dtype bfloat16] [--shapes 8x2048 4x4096 2x8192] [--segments 4] [--heads 32]
                                   [--groups 32] [--head-dim 128] [--backends xla cudnn] [--longest 8192]
                                   [--skip-check] [--skip-time]

First the numbers: outputs and gradients of queries, keys and values, for several lengths and head sizes, shared keys,
and rows that are whole, packed, padded at either end, nothing but padding, or cut into more
segments than cuDNN takes. The error is the root of the sum of
squares over that of the portable backend in float32, and has to stay below 1e-2 in bfloat16 (a bfloat16 has 8 bits:
rounding alone gives 2e-3) and 1e-5 in float32. Then the time of forward and backward with some segments to a row: the
least of several runs, wall and processor. FLOPs are those of the pairs that a causal mask within segments leaves, four
times the head size each forward and ten times backward. A backend that cannot run prints why. Judge times on an idle
machine only, or by processor time: GFLOP/s are those of a second of it, which is one core's.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.config.attention import BACKENDS
from tl_jax.model.attention import AttentionError, AttentionMask, attention, cudnn
from tl_jax.model.attention.portable import portable

Attention = Callable[[jax.Array, jax.Array, jax.Array, AttentionMask], jax.Array]
BOUND = {"bfloat16": 1e-2, "float32": 1e-5}


class Shape(NamedTuple):
    rows: int
    length: int
    heads: int
    groups: int
    head_dim: int


CHECKED = [
    Shape(6, 512, 8, 8, 64),
    Shape(6, 704, 8, 2, 64),  # 64 beyond a multiple of 128: NaN in some cuDNN's backward with a mask
    Shape(6, 1000, 8, 2, 128),
    Shape(6, 2048, 8, 8, 128),
    Shape(6, 4096, 4, 2, 64),
    Shape(6, 8192, 4, 1, 128),
]


def row_kinds(length: int) -> np.ndarray:
    """Segment ids [6, T]: one segment; four and a padded tail; padding after; before; only padding; forty."""
    cuts = np.array([0.1, 0.45, 0.8, 0.93]) * length
    packed = 1 + np.searchsorted(cuts, np.arange(length), side="right")
    slots = np.arange(length)
    return np.stack(
        [
            np.ones(length),
            np.where(packed > 4, 0, packed),
            slots < length * 0.6,
            slots >= length * 0.3,
            np.zeros(length),
            1 + slots * 40 // length,
        ]
    ).astype(np.int32)


def segments_of(rows: int, length: int, count: int) -> np.ndarray:
    """Segment ids [B, T] of full rows, cut at other places in each."""
    random = np.random.default_rng(1)
    ids = np.zeros((rows, length), np.int32)
    for row in ids:
        cuts = np.sort(random.choice(np.arange(1, length), count - 1, replace=False))
        row[:] = 1 + np.searchsorted(cuts, np.arange(length), side="right")
    return ids


def mask_of(segment_ids: np.ndarray) -> AttentionMask:
    positions = np.zeros_like(segment_ids)
    for slot in range(1, segment_ids.shape[1]):
        same = (segment_ids[:, slot] == segment_ids[:, slot - 1]) & (segment_ids[:, slot] > 0)
        positions[:, slot] = np.where(same, positions[:, slot - 1] + 1, 0)
    return AttentionMask.within(jnp.asarray(positions), jnp.asarray(segment_ids))


def arrays_of(shape: Shape, dtype: str) -> tuple[jax.Array, ...]:
    """Query, key, value, and the gradient of the output."""
    random = np.random.default_rng(0)
    query = (shape.rows, shape.length, shape.heads, shape.head_dim)
    key = (shape.rows, shape.length, shape.groups, shape.head_dim)
    made = [random.normal(size=size).astype(np.float32) for size in (query, key, key, query)]
    return tuple(jnp.asarray(x).astype(dtype) for x in made)


def cudnn_by_mask(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """As before Hopper, for comparison."""
    if reason := cudnn.why_not(query, key, value, mask):
        raise AttentionError(reason)
    return cudnn.by_mask(query, key, value, mask)


OTHERS: dict[str, Attention] = {"cudnn by mask": cudnn_by_mask}
"""Not in the table of backends"""


def both_ways(backend: Attention) -> Callable[..., tuple[jax.Array, ...]]:
    """Output and gradients, for a gradient of the output that is zero where there is padding."""

    def run(query: jax.Array, key: jax.Array, value: jax.Array, given: jax.Array, mask: AttentionMask) -> Any:
        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            return backend(q, k, v, mask)

        out, pull = jax.vjp(attend, query, key, value)
        real = (mask.segment_ids > 0)[:, :, None, None]
        return (jnp.where(real, out, 0), *pull(jnp.where(real, given, 0).astype(out.dtype)))

    return run


def reference(arrays: tuple[jax.Array, ...], mask: AttentionMask) -> list[np.ndarray]:
    with jax.default_matmul_precision("highest"):
        wide = [x.astype(jnp.float32) for x in arrays]
        return [np.asarray(x) for x in jax.jit(both_ways(portable))(*wide, mask)]


def errors(got: tuple[jax.Array, ...], expected: list[np.ndarray]) -> list[float]:
    pairs = ((np.asarray(x, np.float32), y) for x, y in zip(got, expected, strict=True))
    return [float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in pairs]


def check(backends: dict[str, Attention], dtype: str, longest: int) -> None:
    print(f"\nerror of output, dquery, dkey, dvalue; bound {BOUND[dtype]:.0e}")
    for shape in (shape for shape in CHECKED if shape.length <= longest):
        mask, arrays = mask_of(row_kinds(shape.length)), arrays_of(shape, dtype)
        expected = reference(arrays, mask)
        for name, backend in backends.items():
            where = f"{name:14} {shape.length:5} x {shape.heads:2}/{shape.groups} x {shape.head_dim:3}"
            try:
                found = errors(jax.jit(both_ways(backend))(*arrays, mask), expected)
            except Exception as error:
                print(f"{where}: cannot: {said(error)}")
                continue
            verdict = "ok" if all(x < BOUND[dtype] for x in found) else "WRONG"  # NaN is wrong
            print(f"{where}: {verdict:5}", " ".join(f"{x:.1e}" for x in found), flush=True)


def measure(backends: dict[str, Attention], dtype: str, shapes: list[Shape], segments: int, repeat: int) -> None:
    print(f"\nforward and backward, {segments} segments to a row")
    for shape in shapes:
        ids = segments_of(shape.rows, shape.length, segments)
        mask, arrays = mask_of(ids), arrays_of(shape, dtype)
        pairs = sum(size * (size + 1) / 2 for row in ids for size in np.bincount(row))
        flops = 14 * shape.head_dim * shape.heads * pairs
        runs: dict[str, Any] = {}
        for name, backend in backends.items():
            try:
                compiled = jax.jit(both_ways(backend)).lower(*arrays, mask).compile()
                jax.block_until_ready(compiled(*arrays, mask))
                runs[name] = compiled
            except Exception as error:
                print(f"{name:14} {shape.rows} x {shape.length}: cannot: {said(error)}")
        best = dict.fromkeys(runs, (math.inf, math.inf))
        for _ in range(repeat):  # in turns, so that whatever else the machine does meets all
            for name, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                jax.block_until_ready(run(*arrays, mask))
                best[name] = (
                    min(best[name][0], time.perf_counter() - wall),
                    min(best[name][1], time.process_time() - cpu),
                )
        base = best.get("xla", (math.nan, math.nan))
        for name, (wall, cpu) in best.items():
            memory = runs[name].memory_analysis()
            print(
                f"{name:14} {shape.rows} x {shape.length}, {shape.heads}/{shape.groups} x {shape.head_dim}: "
                f"{wall * 1e3:8.2f} ms {flops / wall / 1e12:7.3f} TFLOP/s, {base[0] / wall:5.2f} of xla "
                f"(processor {cpu * 1e3:8.2f} ms, {flops / cpu / 1e9:6.1f} GFLOP/s, {base[1] / cpu:5.2f}), "
                f"temporaries {memory.temp_size_in_bytes / 2**20:7.0f} MiB",
                flush=True,
            )


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=sorted(BOUND), default="bfloat16")
    parser.add_argument("--shapes", nargs="+", default=["8x2048", "4x4096", "2x8192"], help="rows x length")
    parser.add_argument("--segments", type=int, default=4, help="to a row")
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--groups", type=int, help="of heads that share keys; default: one a head")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--backends", nargs="+", help="default: all that there are")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--longest", type=int, default=8192, help="of the lengths that are checked")
    parser.add_argument("--skip-check", action="store_true")
    parser.add_argument("--skip-time", action="store_true")
    options = parser.parse_args()
    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {len(jax.devices())} x {device.device_kind}, {options.dtype}")
    backends: dict[str, Attention] = {name: partial(attention, backend=name) for name in BACKENDS} | OTHERS
    backends = {name: backends[name] for name in options.backends or backends}
    if not options.skip_check:
        check(backends, options.dtype, options.longest)
    if not options.skip_time:
        heads = options.heads, options.groups or options.heads, options.head_dim
        sizes = [tuple(map(int, text.split("x"))) for text in options.shapes]
        shapes = [Shape(rows, length, *heads) for rows, length in sizes]
        measure(backends, options.dtype, shapes, options.segments, options.repeat)


if __name__ == "__main__":
    main()
