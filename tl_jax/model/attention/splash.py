"""Pallas splash attention on TPUs."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from tl_jax.model.attention.devices import fits_mesh, on_each_device
from tl_jax.model.attention.mask import KEPT, AttentionMask
from tl_jax.model.attention.runs import MOST_SLOTS, Runs, Sees, next_blocks
from tl_jax.model.platform import platform

LANES = 128
"""What blocks of slots, and so lengths, are multiples of."""


def why_not(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> str | None:
    """What keeps splash from computing this here, as the end of a sentence."""
    if platform() != "tpu":
        return f"needs a TPU, not {platform()!r}"
    if key.shape[1] != query.shape[1]:
        return f"needs queries and keys of the same tokens, not {query.shape[1]} and {key.shape[1]}"
    if not fits_mesh(query, key):
        return "takes rows and heads that divide over the mesh"
    if mask.branches is None:
        return None
    if query.shape[1] > MOST_SLOTS:
        return f"takes {MOST_SLOTS} tokens at most where segments have branches, not {query.shape[1]}"
    return _why_no_branches()


def splash(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, interpret: bool = False
) -> jax.Array:
    """Causal by slots, not by positions: within a segment, slots are in the order of positions.

    See `attention` for the shapes. ``interpret`` is the kernel's reference interpretation, for tests on other devices.
    """
    return on_each_device(partial(_on_one_device, interpret=interpret), query, key, value, mask)


def slots(length: int, branched: bool) -> int:
    """Of a row of so many tokens: a multiple of `LANES`, of 512 in long rows that have branches.

    What is known of each pair of blocks of these lies in a TPU's memory for scalars, 1 MiB: 255 blocks of 128 are too
    many for it.
    """
    step = 512 if branched and length > 8192 else LANES
    return -(-length // step) * step


def block_size(length: int) -> int:
    """Slots of a block for a length that is a multiple of `LANES`.

    512 at most in short rows, where larger ones compute more of what causality hides; in long ones 1,024, so that keys
    are read again for half as many blocks of queries. 2,048 takes the compiler minutes.
    """
    return min(1024 if length >= 4096 else 512, length & -length)


def _on_one_device(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, interpret: bool
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import splash_attention as kernels  # only where a TPU may run it

    heads, length = query.shape[2], query.shape[1]
    padding = slots(length, mask.branches is not None) - length

    def longer(x: jax.Array, fill: int = 0) -> jax.Array:
        return jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)

    queries, keys, values = (jnp.swapaxes(longer(x), 1, 2) for x in (query * query.shape[3] ** -0.5, key, value))
    segment_ids, sizes = longer(mask.segment_ids, -1), _block_sizes(length + padding)
    if mask.branches is None:
        kernel = kernels.make_splash_mha(
            kernels.MultiHeadMask([kernels.CausalMask((length + padding,) * 2)] * heads),
            block_sizes=sizes,
            head_shards=1,
            q_seq_shards=1,
            residual_checkpoint_name=KEPT,
            interpret=interpret,
        )
        out = jax.vmap(kernel)(queries, keys, values, kernels.SegmentIds(segment_ids, segment_ids))
    else:
        row = partial(_row_with_branches, sizes=sizes, interpret=interpret)
        out = jax.vmap(row)(queries, keys, values, segment_ids, longer(mask.branches))
    return jnp.swapaxes(out, 1, 2)[:, :length].astype(query.dtype)


def _row_with_branches(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array,
    branches: jax.Array,
    *,
    sizes: Any,
    interpret: bool,
) -> jax.Array:
    """Of one row, [H, T, K], [G, T, K] twice and [T] twice. See `tl_jax.model.attention.runs`."""
    from jax.experimental.pallas.ops.tpu.splash_attention import SegmentIds
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import (
        DEFAULT_MASK_VALUE,
        SplashAttentionKernel,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

    runs = Runs.of(segment_ids, branches, sizes.block_q)

    def info(following: jax.Array) -> MaskInfo:
        return MaskInfo(
            data_next=following[None],
            mask_next=None,
            block_mask=runs.blocks[None].astype(jnp.int32),
            partial_mask_blocks=None,
            q_sequence=cast(Any, runs.queries),  # JAX's type says NumPy's; its kernels take either
        )

    by_queries, by_keys = info(next_blocks(runs.blocks)), info(next_blocks(runs.blocks.T).T)
    kernel: Any = SplashAttentionKernel(
        by_queries,
        by_queries,
        by_keys,
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=False,
        mask_value=DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=KEPT,
        mask_function=Sees(segment_ids.size),
        interpret=interpret,
    )
    keys, values = (jnp.concatenate([x, x], axis=1) for x in (key, value))
    out: jax.Array = kernel(query, keys, values, SegmentIds(segment_ids, runs.key_segment_ids))
    return out


def _why_no_branches() -> str | None:
    """What `why_not` says where JAX's kernels cannot be told of branches any more: JAX promises no such thing."""
    try:
        _tell_of_branches()
    except Exception as error:  # whatever becomes of names, arguments or shapes there
        return f"of JAX {jax.__version__} takes no segments with branches ({type(error).__name__}: {error})"
    return None


@cache
def _tell_of_branches() -> None:
    """Raises whatever goes wrong, each time anew: it may have been a passing fault. Only that it works is kept."""
    row, numbers = jax.ShapeDtypeStruct((1, LANES, LANES), jnp.float32), jax.ShapeDtypeStruct((LANES,), jnp.int32)
    attend = partial(_row_with_branches, sizes=_block_sizes(LANES), interpret=False)
    jax.eval_shape(jax.grad(lambda *x: attend(*x).sum(), argnums=(0, 1, 2)), row, row, row, numbers, numbers)


def _block_sizes(length: int) -> Any:
    from jax.experimental.pallas.ops.tpu import splash_attention as kernels

    size = block_size(length)
    computed = min(size, 512)
    return kernels.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=computed,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=computed,
        block_q_dq=size,
        block_kv_dq=size,
    )
