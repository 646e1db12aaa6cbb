"""Matrices of a layer that multiply the same activations, side by side in one.

A processor that multiplies few rows reads one wide matrix faster than several narrow ones (`operations.few_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tl_jax.model.config import LlamaConfig
from tl_jax.model.operations import few_rows
from tl_jax.model.parameters import Params
from tl_jax.model.quantize import SCALE

QKV, GATE_UP = "qkv", "gate_up"
PARTS = {QKV: ("q", "k", "v"), GATE_UP: ("gate", "up")}
"""What is in a joined matrix, [D, H + 2 G, K] or [D, 2 F]."""


def join(layers: Params) -> Params:
    """Parameters of layers, [n, ...], with these matrices joined; codes of `quantize` stay apart."""
    joined = dict(layers)
    for name, parts in PARTS.items():
        if not any(part + SCALE in layers for part in parts):
            joined[name] = _beside([joined.pop(part) for part in parts])
    return joined


def _beside(parts: Sequence[jax.Array]) -> jax.Array:
    """Along axis 2. Not `jnp.concatenate`, for which XLA first copies the slices that it is given."""
    first, at = parts[0], 0
    out = jnp.zeros((*first.shape[:2], sum(part.shape[2] for part in parts), *first.shape[3:]), first.dtype)
    for part in parts:
        out = jax.lax.dynamic_update_slice_in_dim(out, part, at, axis=2)
        at += part.shape[2]
    return out


def products(x: jax.Array, layer: Params, name: str, config: LlamaConfig) -> dict[str, jax.Array]:
    """Float32 ``x`` [B, T, D] times each matrix in the joined one ``name``; nothing where they are apart."""
    if name not in layer:
        return {}
    matrix, query_heads, (rows, tokens, width) = layer[name], config.num_heads, x.shape
    out = few_rows(x.reshape(-1, width), matrix.reshape(width, -1)).reshape(rows, tokens, *matrix.shape[1:])
    ends = {QKV: [query_heads, query_heads + config.num_kv_heads], GATE_UP: [config.intermediate_size]}
    return dict(zip(PARTS[name], jnp.split(out, ends[name], axis=2), strict=True))
