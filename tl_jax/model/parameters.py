"""Every parameter, declared once: its logical axes and its initialiser.

Shapes (from the sizes of a configuration), abstract trees, initial values and shardings all follow from `PARAMETERS`.
A path is the key of the nested dictionary with dots: ``layers.q`` is ``params["layers"]["q"]``.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from tl_jax.model.config import LlamaConfig

Params = dict[str, Any]
"""Nested dictionary of arrays (or of whatever stands for them)."""


class Parameter(NamedTuple):
    """``embedding`` and ``normal`` are normal with their own standard deviations."""

    axes: tuple[str, ...]
    init: Literal["normal", "embedding", "ones", "zeros"] = "normal"


PARAMETERS: dict[str, Parameter] = {
    "embed.embedding": Parameter(("vocab", "embed"), "embedding"),
    "layers.attn_norm": Parameter(("layers", "norm"), "ones"),
    "layers.q": Parameter(("layers", "embed", "heads", "head_dim")),
    "layers.k": Parameter(("layers", "embed", "kv_heads", "head_dim")),
    "layers.v": Parameter(("layers", "embed", "kv_heads", "head_dim")),
    "layers.q_bias": Parameter(("layers", "heads", "head_dim"), "zeros"),
    "layers.k_bias": Parameter(("layers", "kv_heads", "head_dim"), "zeros"),
    "layers.v_bias": Parameter(("layers", "kv_heads", "head_dim"), "zeros"),
    "layers.o": Parameter(("layers", "heads", "head_dim", "embed")),
    "layers.mlp_norm": Parameter(("layers", "norm"), "ones"),
    "layers.gate": Parameter(("layers", "embed", "mlp")),
    "layers.up": Parameter(("layers", "embed", "mlp")),
    "layers.down": Parameter(("layers", "mlp", "embed")),
    "norm": Parameter(("norm",), "ones"),
    "lm_head": Parameter(("embed", "vocab")),
    "value_head": Parameter(("norm",), "zeros"),
}


def axis_sizes(config: LlamaConfig) -> dict[str, int]:
    """Length of every logical axis that `PARAMETERS` names."""
    return {
        "layers": config.num_layers,
        "vocab": config.vocab_size,
        "embed": config.hidden_size,
        "norm": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "mlp": config.intermediate_size,
    }


def llama_paths(config: LlamaConfig, lm_head: bool = True) -> tuple[str, ...]:
    """The parameters a Llama of this configuration has; ``lm_head=False`` for a tower that predicts no tokens."""
    absent = {"value_head"}
    if config.tie_word_embeddings or not lm_head:
        absent.add("lm_head")
    if not config.attention_bias:
        absent |= {"layers.q_bias", "layers.k_bias", "layers.v_bias"}
    return tuple(path for path in PARAMETERS if path not in absent)


def abstract_params(
    config: LlamaConfig, param_dtype: jax.typing.DTypeLike = jnp.float32, lm_head: bool = True
) -> Params:
    """The tree of a Llama's parameters as ``jax.ShapeDtypeStruct``: shapes without memory."""
    sizes = axis_sizes(config)
    leaves = {
        path: jax.ShapeDtypeStruct(tuple(sizes[axis] for axis in PARAMETERS[path].axes), jnp.dtype(param_dtype))
        for path in llama_paths(config, lm_head)
    }
    return unflatten_dict(leaves, sep=".")


def init_params(
    config: LlamaConfig,
    key: jax.Array,
    param_dtype: jax.typing.DTypeLike = jnp.float32,
    lm_head: bool = True,
    embedding_std: float | None = None,
) -> Params:
    """Random parameters: normal with the configuration's ``initializer_range``, norms 1, biases 0.

    A parameter's values depend on ``key`` and its path only. ``embedding_std`` None is ``initializer_range``.
    """
    stds = {"normal": config.initializer_range, "embedding": embedding_std or config.initializer_range}

    def leaf(path: str, shape: tuple[int, ...]) -> jax.Array:
        init = PARAMETERS[path].init
        if init == "ones":
            return jnp.ones(shape, param_dtype)
        if init == "zeros":
            return jnp.zeros(shape, param_dtype)
        own_key = jax.random.fold_in(key, zlib.crc32(path.encode()))
        return (stds[init] * jax.random.normal(own_key, shape, jnp.float32)).astype(param_dtype)

    sizes = axis_sizes(config)
    leaves = {
        path: leaf(path, tuple(sizes[axis] for axis in PARAMETERS[path].axes)) for path in llama_paths(config, lm_head)
    }
    return unflatten_dict(leaves, sep=".")
