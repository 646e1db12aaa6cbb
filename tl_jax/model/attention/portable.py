"""Attention in plain JAX, on any device; the definition that other backends are tested against."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention.blocks import by_blocks, row_by_row
from tl_jax.model.attention.devices import on_each_device
from tl_jax.model.attention.mask import KEPT, MASKED, AttentionMask
from tl_jax.model.operations import STRIPE, by_stripes, einsum
from tl_jax.model.platform import platform

CHUNK = 64
"""Rows longer than two of them are computed by blocks of this many queries and keys: a processor multiplies larger ones
no faster, and conversations, which are short, leave more pairs of them half unseen."""
LARGE_CHUNK = 512
"""The same on accelerators, where a small block leaves most of the device idle, of rows longer than one."""
MOST_SCORES = 2 * LARGE_CHUNK**2
"""Of a row and head at once: also few queries are computed by blocks where they go on behind very many keys."""
MANY = 1024
"""Numbers in one place of the values, of all rows, from which on a loop over places is faster than a product."""


def portable(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """All scores at once in short rows, by blocks in long ones. See `attention` for the shapes."""
    if query.shape[1] == 1:
        return one_query(query, key, value, mask)[0]
    on_cpu, length = platform() == "cpu", query.shape[1]
    blocks, size, short = (row_by_row, CHUNK, 2 * CHUNK) if on_cpu else (by_blocks, LARGE_CHUNK, LARGE_CHUNK)
    if length > short or length * key.shape[1] > MOST_SCORES:
        return on_each_device(partial(blocks, size=min(size, length)), query, key, value, mask)
    return _all_at_once(query, key, value, mask)[0]


def one_query(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scales: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The same for one query of each row, and float32 [B, H]: the logarithm of what its weights were divided by, to
    add other keys to these.

    Args:
        query: [B, 1, H, K].
        key: [B, S, G, K], of any dtype.
        value: [B, S, G, K].
        mask: as for `attention`.
        scales: float32 [B, S, H] each: what keys and values are to be multiplied with, for each head that reads them;
            None = nothing.
    """
    mixed, total = (_as_they_lie if platform() == "cpu" else _all_at_once)(query, key, value, mask, scales)
    return mixed, total.reshape(query.shape[0], query.shape[2])


def _all_at_once(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scales: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    rows, length, heads, head_dim = query.shape
    groups, dtype = key.shape[2], query.dtype
    grouped = query.reshape(rows, length, groups, heads // groups, head_dim)  # no copy of keys per head
    scores = jnp.einsum("btgrk,bsgk->bgrts", grouped, key.astype(dtype), preferred_element_type=jnp.float32)
    if scales is not None:
        of_keys, of_values = (jnp.swapaxes(x, 1, 2).reshape(rows, groups, -1, 1, key.shape[1]) for x in scales)
        scores = scores * of_keys
    scores = jnp.where(mask.dense()[:, None, None], scores * head_dim**-0.5, MASKED)
    weights, total = jax.nn.softmax(scores, axis=-1), jax.nn.logsumexp(scores, axis=-1)
    if scales is not None:
        weights = weights * of_values
    mixed = einsum("bgrts,bsgk->btgrk", weights.astype(dtype), value.astype(dtype))
    return checkpoint_name(mixed.reshape(query.shape), KEPT), total


def _as_they_lie(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scales: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Each head with the keys and values of all groups, of which it takes its own.

    XLA turns a whole cache round on a processor to have each group's together, which takes four times as long as these
    products, which read it as it lies.
    """
    rows, slots, groups, head_dim = key.shape
    heads, dtype = query.shape[2], query.dtype
    own = (jnp.arange(heads)[:, None] // (heads // groups) == jnp.arange(groups))[..., None]  # [H, G, 1]
    of_all = jnp.where(own, query[:, 0, :, None], 0).reshape(rows, heads, groups * head_dim)
    keys, values = (x.reshape(rows, slots, groups * head_dim).astype(dtype) for x in (key, value))
    scores = jnp.einsum("bsd,bhd->bsh", keys, of_all, preferred_element_type=jnp.float32)
    if scales is not None:
        scores = scores * scales[0]
    scores = jnp.where(jnp.swapaxes(mask.dense(), 1, 2), scores * head_dim**-0.5, MASKED)
    weights, total = jax.nn.softmax(scores, axis=1), jax.nn.logsumexp(scores, axis=1)
    if scales is not None:
        weights = weights * scales[1]
    if dtype == jnp.float32 and slots % STRIPE == 0 and rows * groups * head_dim >= MANY:
        shared = weights.reshape(rows, slots, groups, heads // groups)
        shape = (rows, groups, heads // groups, head_dim)
        sums = by_stripes(lambda w, v: w[..., None] * v[:, :, None].astype(dtype), (shared, value), (1, 1), shape)
        return sums.reshape(query.shape), total
    mixed = einsum("bsh,bsd->bhd", weights.astype(dtype), values).reshape(rows, heads, groups, head_dim)
    return jnp.where(own, mixed, 0).sum(axis=2)[:, None].astype(dtype), total
