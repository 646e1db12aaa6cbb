"""Pallas splash attention on TPUs."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl_jax.model.attention.mask import AttentionError, AttentionMask
from tl_jax.model.sharding import partition_spec


def splash(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, interpret: bool = False
) -> jax.Array:
    """Causal by slots, not by positions: within a segment, slots are in the order of positions.

    See `attention` for the shapes. ``interpret`` is the kernel's reference interpretation, for tests on other devices.
    """
    if jax.default_backend() != "tpu" and not interpret:
        raise AttentionError(f"attention 'splash' needs a TPU, not {jax.default_backend()!r}; use 'xla'")
    length, head_dim = query.shape[1], query.shape[3]
    if key.shape[1] != length or length % 128:
        raise AttentionError(f"attention 'splash' needs a length that is a multiple of 128, got {length}")
    one_device = partial(_on_one_device, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:  # a Pallas kernel is not partitioned by the compiler
        queries, keys = (partition_spec("batch", None, heads) for heads in ("heads", "kv_heads"))
        rows = partition_spec("batch")
        one_device = jax.shard_map(
            one_device, in_specs=(queries, keys, keys, rows, rows), out_specs=queries, check_vma=False
        )
    elif jax.device_count() > 1 and not interpret:
        raise AttentionError("attention 'splash' on several devices must run within jax.set_mesh(mesh)")
    return one_device(query * head_dim**-0.5, key, value, mask.segment_ids, mask.key_segment_ids)


def _on_one_device(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    segment_ids: jax.Array,
    key_segment_ids: jax.Array,
    interpret: bool,
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import splash_attention as kernels  # only where a TPU may run it

    length, heads = query.shape[1:3]
    size = max(size for size in (128, 256, 512) if length % size == 0)
    sizes: dict[str, Any] = dict.fromkeys(
        ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"), size
    )
    kernel = kernels.make_splash_mha(
        kernels.MultiHeadMask([kernels.CausalMask((length, length))] * heads),
        block_sizes=kernels.BlockSizes(**sizes, block_q_dq=size, block_kv_dq=size),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    by_head = [jnp.swapaxes(x, 1, 2) for x in (query, key, value)]  # [B, heads, T, K]
    out = jax.vmap(kernel)(*by_head, kernels.SegmentIds(segment_ids, key_segment_ids))
    return jnp.swapaxes(out, 1, 2).astype(query.dtype)
