"""Causal attention within segments: one function, three backends that must agree.

A query sees the keys of its own segment whose position is not after its own. That one rule covers packed rows,
padding (segment 0 sees only segment 0, so its numbers are finite and nobody reads them) and a cache that is partly
filled (slots not yet written have segment 0).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from tl_jax.model.sharding import partition_spec

Backend = Literal["xla", "cudnn", "splash"]

_CHUNK = 512  # queries whose scores are held at once by the XLA backend
_MASKED = -1e30  # finite, so that a query without any key gives numbers and not NaN


class AttentionError(ValueError):
    """A combination that the chosen backend cannot compute."""


class Places(NamedTuple):
    """Where tokens are. Both int32 [B, T]."""

    positions: jax.Array
    segments: jax.Array


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    query_places: Places,
    key_places: Places,
    backend: Backend = "xla",
) -> jax.Array:
    """Softmax attention scaled by 1/sqrt(K), statistics in float32, keys and values shared by groups of heads.

    Args:
        query: [B, T, H, K].
        key: [B, S, G, K] where G divides H; head h uses group h // (H / G).
        value: [B, S, G, K].
        query_places: of the T queries.
        key_places: of the S keys.
        backend: ``splash`` reads the order of the slots as the order of the positions within a segment.

    Returns:
        [B, T, H, K] in the dtype of ``query``.

    Raises:
        AttentionError: the backend cannot run here, or not on these shapes or dtypes.
    """
    chex.assert_rank([query, key, value], 4)
    chex.assert_equal_shape([key, value])
    chex.assert_shape(list(query_places), query.shape[:2])
    chex.assert_shape(list(key_places), key.shape[:2])
    if backend == "cudnn":
        return _cudnn(query, key, value, query_places, key_places)
    if backend == "splash":
        return _splash(query, key, value, query_places, key_places)
    if query.shape[1] <= 2 * _CHUNK:
        return _xla(query, key, value, query_places, key_places)
    return _xla_chunked(query, key, value, query_places, key_places)


def visible(query: Places, key: Places) -> jax.Array:
    """Bool [B, T, S]: which keys a query sees."""
    same_segment = query.segments[:, :, None] == key.segments[:, None, :]
    not_later = query.positions[:, :, None] >= key.positions[:, None, :]
    return same_segment & not_later


def _xla(query: jax.Array, key: jax.Array, value: jax.Array, at: Places, key_at: Places) -> jax.Array:
    rows, length, heads, head_dim = query.shape
    groups = key.shape[2]
    grouped = query.reshape(rows, length, groups, heads // groups, head_dim)  # no copy of keys per head
    scores = jnp.einsum("btgrk,bsgk->bgrts", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(visible(at, key_at)[:, None, None], scores * head_dim**-0.5, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bgrts,bsgk->btgrk", weights, value).reshape(query.shape)


def _xla_chunked(query: jax.Array, key: jax.Array, value: jax.Array, at: Places, key_at: Places) -> jax.Array:
    """`_xla` by chunks of queries: never holds [B, H, T, S], neither forward nor backward."""
    length = query.shape[1]
    chunks = -(-length // _CHUNK)

    def split(x: jax.Array) -> jax.Array:  # [B, T, ...] -> [chunks, B, _CHUNK, ...]
        padding = [(0, 0), (0, chunks * _CHUNK - length)] + [(0, 0)] * (x.ndim - 2)
        return jnp.moveaxis(jnp.pad(x, padding).reshape(x.shape[0], chunks, _CHUNK, *x.shape[2:]), 1, 0)

    @partial(jax.checkpoint, prevent_cse=False)
    def one(chunk: tuple[jax.Array, Places]) -> jax.Array:
        return _xla(chunk[0], key, value, chunk[1], key_at)

    out = jax.lax.map(one, (split(query), Places(*map(split, at))))
    return jnp.moveaxis(out, 0, 1).reshape(query.shape[0], chunks * _CHUNK, *query.shape[2:])[:, :length]


def _cudnn(query: jax.Array, key: jax.Array, value: jax.Array, at: Places, key_at: Places) -> jax.Array:
    """cuDNN's flash attention. It takes the mask as a bias [B, 1, T, S], the same for all heads."""
    if jax.default_backend() != "gpu":
        raise AttentionError(f"attention 'cudnn' needs an NVIDIA GPU, not {jax.default_backend()!r}; use 'xla'")
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        raise AttentionError(f"attention 'cudnn' computes in bfloat16, not {query.dtype}; use model.dtype=bfloat16")
    mask = visible(at, key_at)[:, None]
    return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")


def _splash(
    query: jax.Array, key: jax.Array, value: jax.Array, at: Places, key_at: Places, interpret: bool = False
) -> jax.Array:
    """Pallas splash attention on TPU (``interpret``: its reference interpretation, for tests elsewhere)."""
    if jax.default_backend() != "tpu" and not interpret:
        raise AttentionError(f"attention 'splash' needs a TPU, not {jax.default_backend()!r}; use 'xla'")
    length, head_dim = query.shape[1], query.shape[3]
    if key.shape[1] != length or length % 128:
        raise AttentionError(f"attention 'splash' needs a length that is a multiple of 128, got {length}")
    one_device = partial(_splash_one_device, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:  # a Pallas kernel is not partitioned by the compiler
        queries, keys = (partition_spec("batch", None, heads) for heads in ("heads", "kv_heads"))
        places = partition_spec("batch")
        one_device = jax.shard_map(
            one_device, in_specs=(queries, keys, keys, places, places), out_specs=queries, check_vma=False
        )
    elif jax.device_count() > 1 and not interpret:
        raise AttentionError("attention 'splash' on several devices must run within jax.set_mesh(mesh)")
    return one_device(query * head_dim**-0.5, key, value, at.segments, key_at.segments)


def _splash_one_device(
    query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array, key_segments: jax.Array, interpret: bool
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu import splash_attention as splash  # only where a TPU may run it

    length, heads = query.shape[1:3]
    size = max(size for size in (128, 256, 512) if length % size == 0)
    sizes: dict[str, Any] = dict.fromkeys(
        ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"), size
    )
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([splash.CausalMask((length, length))] * heads),
        block_sizes=splash.BlockSizes(**sizes, block_q_dq=size, block_kv_dq=size),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    by_head = [jnp.swapaxes(x, 1, 2) for x in (query, key, value)]  # [B, heads, T, K]
    out = jax.vmap(kernel)(*by_head, splash.SegmentIds(segments, key_segments))
    return jnp.swapaxes(out, 1, 2).astype(query.dtype)
