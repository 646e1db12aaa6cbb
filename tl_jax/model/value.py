"""A model that gives every token a value, for PPO's critic: a language model without its head, and one vector."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tl_jax.config import LoraConfig
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, Llama, abstract_model
from tl_jax.model.parameters import Params


class ValueModel(nnx.Module):
    """``backbone`` and ``value_head`` [D]. `split` and `merge` of `llama.py` work on it as they do on a `Llama`."""

    def __init__(self, config: LlamaConfig, params: Params, **options: Any) -> None:
        """``params`` are those of `value_params`, ``options`` those of `Llama`."""
        self.backbone = Llama(config, params["backbone"], **options)
        self.value_head = nnx.Param(params["value_head"])

    def __call__(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """Float32 values [B, T]; arguments as in `Llama.hidden`."""
        return self.values(self.backbone.hidden(tokens, positions, segment_ids))

    def values(self, hidden: jax.Array) -> jax.Array:
        """Float32 [...] from ``hidden`` [..., D]."""
        return head_values(hidden, self.value_head[...])


def head_values(hidden: jax.Array, head: jax.Array) -> jax.Array:
    """Float32 [...] from ``hidden`` [..., D] and ``head`` [D]."""
    return jnp.einsum("...d,d->...", hidden.astype(jnp.float32), head.astype(jnp.float32))


def make_value_graphdef(config: LlamaConfig, lora: LoraConfig | None = None, **options: Any) -> GraphDef:
    """`split`'s description of ``ValueModel(config, params, **options)``, as `make_graphdef` makes it of a `Llama`."""
    model = abstract_model(config, lora)
    params = jax.eval_shape(value_params, model.pop("params"))
    return nnx.split(ValueModel(config, params, **model, **options))[0]


def value_params(llama: Params) -> Params:
    """A critic's parameters that start from those of a language model, with a head of zeros.

    Every value is 0 until something is learnt. Arrays of the backbone are the same objects: copy them before donating
    either to a compiled step.
    """
    return {"backbone": backbone(llama), **value_head(llama)}


def backbone(llama: Params) -> Params:
    """The parameters of a language model without those that predict tokens."""
    return {name: value for name, value in llama.items() if name != "lm_head"}


def value_head(llama: Params, dtype: jax.typing.DTypeLike | None = None) -> Params:
    """A head of zeros for the backbone of a language model: all that a critic has that shares the actor's; by default
    in the dtype of its norm."""
    return {"value_head": jnp.zeros_like(llama["norm"], dtype)}
