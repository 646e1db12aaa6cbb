"""The Llama family in Flax NNX: embedding, a stack of identical blocks, a norm, a vocabulary projection.

NNX holds structure and parameters; what is computed are plain functions of arrays. `split` and `merge` are the only
boundary: everything outside works on a static ``graphdef`` and a nested dictionary of arrays.

Letters in shapes: B rows, T tokens, D hidden size, H query heads, G key/value heads, K head size, F feed-forward,
V vocabulary, L layers, S new tokens, C slots of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from tl_jax.model.attention import Backend, Places, attention
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Params, abstract_params, init_params
from tl_jax.model.sharding import constrain

__all__ = ["Cache", "GraphDef", "Llama", "abstract_params", "init_params", "make_graphdef", "merge", "split"]

Remat = Literal["none", "block", "dots"]
GraphDef: TypeAlias = "nnx.GraphDef[Any]"
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]

_SAVED = ("query", "key", "value", "attention", "gate", "up")  # what remat "dots" keeps for the backward pass


class Cache(NamedTuple):
    """Keys and values of what a model has read, per layer, so that a decoding step writes in place."""

    keys: tuple[jax.Array, ...]
    """L arrays [B, C, G, K], after rotation"""
    values: tuple[jax.Array, ...]
    """L arrays [B, C, G, K]"""
    places: Places
    """[B, C]; segment 0 where nothing is to be seen"""
    length: jax.Array
    """int32 []: slots written so far"""

    def extended(self, slots: int) -> Cache:
        """The same with room for ``slots`` more tokens."""

        def longer(x: jax.Array) -> jax.Array:
            return jnp.pad(x, [(0, 0), (0, slots)] + [(0, 0)] * (x.ndim - 2))

        return jax.tree.map(lambda x: longer(x) if x.ndim else x, self)


class Llama(nnx.Module):
    """A decoder-only language model; parameters of all layers are stacked ``[L, ...]``, see `parameters.py`."""

    def __init__(
        self,
        config: LlamaConfig,
        *,
        rngs: nnx.Rngs,
        dtype: jax.typing.DTypeLike = jnp.bfloat16,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        attention: Backend = "xla",
        remat: Remat = "block",
        scan_layers: bool = True,
        lm_head: bool = True,
        embedding_std: float | None = None,
    ) -> None:
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.attention = attention
        self.remat = remat
        self.scan_layers = scan_layers
        params = init_params(config, rngs.params(), param_dtype, lm_head, embedding_std)
        self.embed = nnx.Dict({name: nnx.Param(value) for name, value in params["embed"].items()})
        self.layers = nnx.Dict({name: nnx.Param(value) for name, value in params["layers"].items()})
        self.norm = nnx.Param(params["norm"])
        if "lm_head" in params:
            self.lm_head = nnx.Param(params["lm_head"])

    def __call__(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """Float32 logits [B, T, V]. Training takes `hidden` and projects only where it needs to."""
        return self.logits(self.hidden(tokens, positions, segment_ids))

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """What the vocabulary projection reads, [B, T, D].

        Args:
            tokens: int32 [B, T].
            positions: int32 [B, T], within the segment.
            segment_ids: int32 [B, T]; tokens see only their own segment, 0 is padding.
        """
        chex.assert_rank(tokens, 2)
        chex.assert_equal_shape([tokens, positions, segment_ids])
        places = Places(positions, segment_ids)

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, None]:
            return attention(query, key, value, places, places, self.attention), None

        block = partial(_block, config=self.config, rotation=_rotation(self.config, positions), attend=attend)
        step = _with_remat(block, self.remat, in_scan=self.scan_layers)
        x = self._embed(tokens)
        layers = {name: param[...] for name, param in self.layers.items()}
        if self.scan_layers:
            x, _ = jax.lax.scan(step, x, layers)
        else:
            for layer in range(self.config.num_layers):
                x, _ = step(x, {name: stacked[layer] for name, stacked in layers.items()})
        return _rms_norm(x, self.norm[...], self.config.rms_norm_eps)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Float32 [..., V] from ``hidden`` [..., D]."""
        if self.config.tie_word_embeddings:
            table, equation = self.embed["embedding"][...], "...d,vd->...v"
        else:
            table, equation = self.lm_head[...], "...d,dv->...v"
        return jnp.einsum(equation, hidden, table.astype(hidden.dtype), preferred_element_type=jnp.float32)

    def decode(
        self, tokens: jax.Array, places: Places, cache: Cache, layers: Sequence[Params]
    ) -> tuple[jax.Array, Cache]:
        """Reads ``tokens`` [B, S] after what the cache holds; S = prompt length at first, then 1.

        Always uses the XLA attention backend: a step is bound by reading the cache, whatever the kernel.

        Args:
            tokens: int32 [B, S].
            places: [B, S] positions and segments of these tokens.
            cache: with room for S more.
            layers: `unstacked`, once and outside the loop.

        Returns:
            Hidden states [B, S, D] and the cache with the new keys and values.
        """
        start = cache.length
        key_places = Places(*(_write(old, new, start) for old, new in zip(cache.places, places, strict=True)))
        rotation = _rotation(self.config, places.positions)
        x = self._embed(tokens)
        keys, values = [], []
        for weights, old_keys, old_values in zip(layers, cache.keys, cache.values, strict=True):
            attend = partial(_attend_cache, old_keys, old_values, start, places, key_places)
            x, (new_keys, new_values) = _block(x, weights, config=self.config, rotation=rotation, attend=attend)
            keys.append(new_keys)
            values.append(new_values)
        hidden = _rms_norm(x, self.norm[...], self.config.rms_norm_eps)
        return hidden, Cache(tuple(keys), tuple(values), key_places, start + tokens.shape[1])

    def unstacked(self) -> tuple[Params, ...]:
        """The parameters of each layer on their own, as `decode` wants them."""
        return tuple(
            {name: param[...][layer] for name, param in self.layers.items()} for layer in range(self.config.num_layers)
        )

    def empty_cache(self, rows: int, slots: int) -> Cache:
        """A cache for ``slots`` tokens in each of ``rows`` rows, with nothing in it."""
        shape = (rows, slots, self.config.num_kv_heads, self.config.head_dim)
        zeros = constrain(jnp.zeros(shape, self.dtype), "batch", None, "kv_heads", None)
        nothing = constrain(jnp.zeros((rows, slots), jnp.int32), "batch", None)
        per_layer = (zeros,) * self.config.num_layers
        return Cache(per_layer, per_layer, Places(nothing, nothing), jnp.zeros((), jnp.int32))

    def _embed(self, tokens: jax.Array) -> jax.Array:
        # an id outside the vocabulary gives NaN, which is seen, and not another token's row, which is not
        rows = jnp.take(self.embed["embedding"][...], tokens, axis=0, mode="fill", fill_value=jnp.nan)
        return constrain(rows.astype(self.dtype), "batch", None, None)


def split(model: nnx.Module) -> tuple[GraphDef, Params]:
    """A static, hashable description of the model and its parameters as a nested dictionary of arrays."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def merge(graphdef: GraphDef, params: Params) -> Any:
    """The model again: the inverse of `split`. Cheap; used at the top of a traced function."""
    return nnx.merge(graphdef, params)


def make_graphdef(config: LlamaConfig, **options: Any) -> GraphDef:
    """`split`'s description of ``Llama(config, **options)`` without making any parameter."""
    return nnx.split(nnx.eval_shape(lambda: Llama(config, rngs=nnx.Rngs(0), **options)))[0]


def _block(
    x: jax.Array, weights: Params, *, config: LlamaConfig, rotation: tuple[jax.Array, jax.Array], attend: Attend
) -> tuple[jax.Array, Any]:
    """One layer: [B, T, D] -> [B, T, D], and whatever ``attend`` hands on."""
    h = _rms_norm(x, weights["attn_norm"], config.rms_norm_eps)
    query, key, value = (_project(h, weights, name) for name in ("q", "k", "v"))
    query = checkpoint_name(_rotate(query, rotation), "query")
    key = checkpoint_name(_rotate(key, rotation), "key")
    mixed, kept = attend(query, key, checkpoint_name(value, "value"))
    x = x + _einsum("bthk,hkd->btd", checkpoint_name(mixed, "attention"), weights["o"])
    x = constrain(x, "batch", None, None)
    h = _rms_norm(x, weights["mlp_norm"], config.rms_norm_eps)
    gate = checkpoint_name(_einsum("btd,df->btf", h, weights["gate"]), "gate")
    up = checkpoint_name(_einsum("btd,df->btf", h, weights["up"]), "up")
    x = x + _einsum("btf,fd->btd", jax.nn.silu(gate) * up, weights["down"])
    return constrain(x, "batch", None, None), kept


def _project(h: jax.Array, weights: Params, name: str) -> jax.Array:
    out = _einsum("btd,dhk->bthk", h, weights[name])
    return out + weights[f"{name}_bias"].astype(h.dtype) if f"{name}_bias" in weights else out


def _einsum(equation: str, x: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.einsum(equation, x, weight.astype(x.dtype))


def _rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / rms(x) * scale, in float32 (https://arxiv.org/abs/1910.07467, equation 4)."""
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (normed * scale.astype(jnp.float32)).astype(x.dtype)


def _rotation(config: LlamaConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of the rotary angles, float32 [B, T, 1, K/2]."""
    angles = positions[:, :, None, None].astype(jnp.float32) * rotary_frequencies(config)
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates [B, T, H, K] in float32; element i pairs with i + K/2, as transformers' converted weights want it."""
    cos, sin = rotation
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rotary_frequencies(config: LlamaConfig) -> np.ndarray:
    """Angle per position of each pair, float32 [K/2]: theta^(-2i/K) (https://arxiv.org/abs/2104.09864), scaled."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim
    frequencies = (1.0 / np.float32(config.rope_theta) ** exponents).astype(np.float32)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / np.float32(scaling.factor)
    # llama3: how often a pair turns within the original context decides how much of its frequency is kept
    turns = scaling.original_max_position_embeddings * frequencies / np.float32(2 * np.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0, 1).astype(np.float32)
    return frequencies * (kept + (1 - kept) / np.float32(scaling.factor))


def _with_remat(step: Callable[..., Any], remat: Remat, in_scan: bool) -> Callable[..., Any]:
    """``block`` keeps only a layer's input for the backward pass, ``dots`` the inputs of its expensive products."""
    if remat == "none":
        return step
    policies = jax.checkpoint_policies
    policy = policies.nothing_saveable if remat == "block" else policies.save_only_these_names(*_SAVED)
    return jax.checkpoint(step, policy=policy, prevent_cse=not in_scan)


def _attend_cache(
    old_keys: jax.Array,
    old_values: jax.Array,
    start: jax.Array,
    places: Places,
    key_places: Places,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    keys, values = _write(old_keys, key, start), _write(old_values, value, start)
    return attention(query, keys, values, places, key_places), (keys, values)


def _write(slots: jax.Array, new: jax.Array, start: jax.Array) -> jax.Array:
    """Puts ``new`` [B, S, ...] into ``slots`` [B, C, ...] from slot ``start`` on."""
    return jax.lax.dynamic_update_slice_in_dim(slots, new.astype(slots.dtype), start, axis=1)
