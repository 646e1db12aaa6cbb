"""cuDNN's flash attention on NVIDIA GPUs, through `jax.nn.dot_product_attention` and what lies under it.

From Hopper on the segments of a row are handed over as starts and lengths, so nothing that they hide from each other is
computed; before it, and where segments have branches, the mask is a bias, which hides everything and skips nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention.devices import compute_capability, fits_mesh, on_each_device
from tl_jax.model.attention.mask import KEPT, AttentionMask
from tl_jax.model.attention.packed import segment_starts
from tl_jax.model.platform import platform

WORKSPACE = 2**30
"""Bytes that the backward pass over some rows may take for gradients of queries in float32, where one row leaves it."""


def why_not(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> str | None:
    """What keeps cuDNN from computing this here, as the end of a sentence."""
    if platform() != "gpu":
        return f"needs an NVIDIA GPU, not {platform()!r}"
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        return f"computes in bfloat16, not {query.dtype}"
    if compute_capability() < (8, 0):
        return "needs a GPU of compute capability 8.0 or more"
    if query.shape[1] % 2 or key.shape[1] % 2:
        return f"takes rows of even length, not {query.shape[1]} x {key.shape[1]}"
    largest = 256 if compute_capability() >= (9, 0) else 128
    if query.shape[3] % 8 or query.shape[3] > largest:
        return f"takes head sizes that are multiples of 8 up to {largest}, not {query.shape[3]}"
    if not fits_mesh(query, key):
        return "takes rows and heads that divide over the mesh"
    return None


def cudnn(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """By segments where the GPU can and queries and keys are the same tokens, else by the mask. See `attention`."""
    packed = (9, 0) <= compute_capability() < (12, 0) and query.shape[1] == key.shape[1] and mask.branches is None
    return on_each_device(_by_rows if packed else by_mask, query, key, value, mask)


def keeping(kernel: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The same, of queries, keys, values and what has no gradient; what it makes for its backward pass is named `KEPT`,
    which those of JAX have no name for: its output and the softmax's sums, [N, H, T]."""

    @jax.custom_vjp
    def attend(query: jax.Array, key: jax.Array, value: jax.Array, *about: jax.Array) -> jax.Array:
        return kernel(query, key, value, *about)

    def forward(query: jax.Array, key: jax.Array, value: jax.Array, *about: jax.Array) -> tuple[jax.Array, Any]:
        out, pull = jax.vjp(lambda *read: kernel(*read, *about), query, key, value)
        named = checkpoint_name(out, KEPT)

        def of_kernel(leaf: jax.Array) -> jax.Array:
            if leaf is out:
                return named
            return checkpoint_name(leaf, KEPT) if leaf.ndim == 3 else leaf

        return named, (jax.tree.map(of_kernel, pull), (None,) * len(about))

    def backward(kept: Any, given: jax.Array) -> tuple[jax.Array | None, ...]:
        pull, nothing = kept
        return *pull(given), *nothing

    attend.defvjp(forward, backward)
    return attend


def by_mask(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """The mask is handed over whole, [B, 1, T, S], the same for all heads."""
    return _masked(query, key, value, mask.dense()[:, None])


@keeping
def _masked(query: jax.Array, key: jax.Array, value: jax.Array, dense: jax.Array) -> jax.Array:
    with _as_on_the_mesh():
        return jax.nn.dot_product_attention(query, key, value, mask=dense, implementation="cudnn")


def most_segments(length: int) -> int:
    """Segments of a row that are handed over; the kernels' memory grows with their number times the row's length."""
    return min(16, max(2, 2**17 // length))


def _by_rows(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """So many rows at once as the workspace holds."""
    rows, length, heads, head_dim = query.shape
    fitting = WORKSPACE // (most_segments(length) * length * heads * head_dim * 4)
    at_once = max(size for size in range(1, rows + 1) if rows % size == 0 and size <= max(fitting, 1))
    if at_once == rows:
        return _by_segments(query, key, value, mask)

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(-1, at_once, *x.shape[1:])

    some_rows = jax.tree.map(split, (query, key, value, mask))
    return jax.lax.map(lambda some: _by_segments(*some), some_rows).reshape(query.shape)


@jax.custom_vjp
def _by_segments(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """By the mask instead where a row has more segments than are handed over."""
    return _forward(query, key, value, mask)[0]


def _forward(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> tuple[jax.Array, Any]:
    most = most_segments(query.shape[1])
    starts, lengths, more = segment_starts(mask.segment_ids, most)

    def by_segments(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        real = (mask.segment_ids > 0)[:, :, None, None]
        query, key, value = (jnp.where(real, x, 0) for x in (query, key, value))  # gradients of padding, too
        return jnp.where(real, _fused(query, key, value, starts, lengths), 0)  # cuDNN leaves padding as it was

    out, pull = jax.vjp(by_segments, query, key, value)
    too_many = more.any()
    out = jax.lax.cond(too_many, lambda: by_mask(query, key, value, mask), lambda: out)
    return out, (pull, too_many, query, key, value, mask)


def _backward(kept: Any, given: jax.Array) -> tuple[jax.Array | None, ...]:
    pull, too_many, query, key, value, mask = kept

    def all_again() -> tuple[jax.Array, ...]:
        _, pull_all = jax.vjp(lambda query, key, value: by_mask(query, key, value, mask), query, key, value)
        return tuple(pull_all(given))

    gradients = tuple(pull(given))
    return *jax.lax.cond(too_many, all_again, lambda: gradients), None


_by_segments.defvjp(_forward, _backward)


@keeping
def _fused(query: jax.Array, key: jax.Array, value: jax.Array, starts: jax.Array, lengths: jax.Array) -> jax.Array:
    from jax._src.cudnn import fused_attention_stablehlo as fused  # the public function takes no starts (jax#29731)

    if jax.__version_info__ < (0, 11):  # there the step between keys is taken for that between queries (jax#39521)
        key, value = (jnp.repeat(x, query.shape[2] // x.shape[2], axis=2) for x in (key, value))
    starts = jnp.pad(starts, ((0, 0), (0, 1)), constant_values=-1)
    with _as_on_the_mesh():
        out: jax.Array = fused.dot_product_attention(
            query,
            key,
            value,
            q_seqlen=lengths,
            kv_seqlen=lengths,
            q_offsets=starts,
            kv_offsets=starts,
            scale=query.shape[3] ** -0.5,
            mask_type=fused.MaskType.PADDING_CAUSAL,
        )
    return out


@contextmanager
def _as_on_the_mesh() -> Iterator[None]:
    """JAX asks its default device what cuDNN can do; here that of the mesh answers, maybe another machine's."""
    if jax.default_backend() == "gpu":
        yield
        return
    from jax._src.cudnn import fused_attention_stablehlo as fused

    names = ("check_compute_capability", "is_cuda_compute_capability_equal", "check_cudnn_version")
    asked = {name: getattr(fused, name) for name in names}
    fused.check_compute_capability = lambda least: compute_capability() >= tuple(map(int, least.split(".")))
    fused.is_cuda_compute_capability_equal = lambda one: compute_capability() == tuple(map(int, one.split(".")))
    fused.check_cudnn_version = lambda: 91000
    try:
        yield
    finally:
        for name, function in asked.items():
            setattr(fused, name, function)
