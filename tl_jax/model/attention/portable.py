"""Attention in plain JAX, on any device; the definition that other backends are tested against."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from tl_jax.model.attention.mask import AttentionMask

CHUNK = 512
"""Queries whose scores are held at once in rows longer than two chunks."""
_MASKED = -1e30  # finite, so that a query without any key gives numbers and not NaN


def portable(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """All scores at once in short rows, by chunks of queries in long ones. See `attention` for the shapes."""
    whole = query.shape[1] <= 2 * CHUNK
    return _all_at_once(query, key, value, mask) if whole else _by_chunks(query, key, value, mask)


def _all_at_once(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    rows, length, heads, head_dim = query.shape
    groups = key.shape[2]
    grouped = query.reshape(rows, length, groups, heads // groups, head_dim)  # no copy of keys per head
    scores = jnp.einsum("btgrk,bsgk->bgrts", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask.dense()[:, None, None], scores * head_dim**-0.5, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bgrts,bsgk->btgrk", weights, value).reshape(query.shape)


def _by_chunks(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """The same without ever holding [B, H, T, S], neither forward nor backward."""
    length = query.shape[1]
    chunks = -(-length // CHUNK)

    def split(x: jax.Array) -> jax.Array:  # [B, T, ...] -> [chunks, B, CHUNK, ...]
        padding = [(0, 0), (0, chunks * CHUNK - length)] + [(0, 0)] * (x.ndim - 2)
        return jnp.moveaxis(jnp.pad(x, padding).reshape(x.shape[0], chunks, CHUNK, *x.shape[2:]), 1, 0)

    @partial(jax.checkpoint, prevent_cse=False)
    def one(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        queries, positions, segment_ids = chunk
        own = mask._replace(positions=positions, segment_ids=segment_ids)
        return _all_at_once(queries, key, value, own)

    out = jax.lax.map(one, (split(query), split(mask.positions), split(mask.segment_ids)))
    return jnp.moveaxis(out, 0, 1).reshape(query.shape[0], chunks * CHUNK, *query.shape[2:])[:, :length]
