"""One layer of the language model: norms, projections, attention, feed-forward; what of it is kept, by name.

Letters in shapes are those of `tl_jax.model.llama`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model import joined, quantize
from tl_jax.model import lora as adapters
from tl_jax.model.config import LlamaConfig
from tl_jax.model.host_memory import on_device
from tl_jax.model.operations import gated, rms_norm
from tl_jax.model.parameters import Params
from tl_jax.model.remat import LAYER_INPUT
from tl_jax.model.rotary import Rotation, rotate
from tl_jax.model.sharding import constrain

NOTHING: Mapping[str, jax.Array] = MappingProxyType({})
Only = Callable[[Any], Any]
"""What takes, of arrays [B, T, ...], some tokens: [B, W, ...]."""
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]
"""(query, key, value) -> (output [B, T, H, K], whatever the layer hands on)."""


def through_layer(
    x: jax.Array,
    weights: Params,
    *,
    config: LlamaConfig,
    by: Rotation,
    attend: Attend,
    lora: adapters.Use,
    only: Only | None = None,
) -> tuple[jax.Array, Any]:
    """One layer: [B, T, D] -> [B, T, D], or [B, W, D] of ``only`` W tokens; and whatever ``attend`` hands on."""
    x, weights = checkpoint_name(x, LAYER_INPUT), on_device(weights)
    product = partial(_product, weights, config.rms_norm_eps, lora)
    h = rms_norm(x, weights["attn_norm"], config.rms_norm_eps)
    made = joined.products(h, weights, joined.QKV, config)
    key, value = rotate(product("k", "btd,dgk->btgk", h, made), by), product("v", "btd,dgk->btgk", h, made)
    if only is not None:
        x, h, by, made = only((x, h, by, made))
    mixed, kept = attend(rotate(product("q", "btd,dhk->bthk", h, made), by), key, value)
    x = x + product("o", "bthk,hkd->btd", mixed)
    x = constrain(x, "batch", None, None)
    h = rms_norm(x, weights["mlp_norm"], config.rms_norm_eps)
    made = joined.products(h, weights, joined.GATE_UP, config)
    opened = gated(product("gate", "btd,df->btf", h, made), product("up", "btd,df->btf", h, made))
    x = x + product("down", "btf,fd->btd", opened)
    return constrain(x, "batch", None, None), kept


def _product(
    weights: Params,
    eps: float,
    lora: adapters.Use,
    name: str,
    equation: str,
    x: jax.Array,
    made: Mapping[str, jax.Array] = NOTHING,
) -> jax.Array:
    """``x`` times the matrix ``name``, which may be ``made``, and its adapter, then its bias and its norm, where there
    are such."""
    out = made[name] if name in made else quantize.product(equation, x, weights, name)
    if name + adapters.A in weights:
        out = out + adapters.added(x, weights, name, lora)
    out = checkpoint_name(out, name)
    if f"{name}_bias" in weights:
        out = out + weights[f"{name}_bias"].astype(x.dtype)
    if f"{name}_norm" in weights:
        out = rms_norm(out, weights[f"{name}_norm"], eps)
    return out
