"""A tower that gives every token a value, for PPO's critic: a Llama without vocabulary, and one vector."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, Llama
from tl_jax.model.parameters import Params


class ValueModel(nnx.Module):
    """``tower`` and ``value_head`` [D]. `split` and `merge` of `llama.py` work on it as they do on a Llama."""

    def __init__(self, config: LlamaConfig, *, rngs: nnx.Rngs, **options: Any) -> None:
        """``options`` are those of `Llama`. The head starts at zero: every value is 0 until something is learnt."""
        self.tower = Llama(config, rngs=rngs, lm_head=False, **options)
        param_dtype = self.tower.norm[...].dtype
        self.value_head = nnx.Param(jnp.zeros(config.hidden_size, param_dtype))

    def __call__(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """Float32 values [B, T]; arguments as in `Llama.hidden`."""
        return self.values(self.tower.hidden(tokens, positions, segment_ids))

    def values(self, hidden: jax.Array) -> jax.Array:
        """Float32 [...] from ``hidden`` [..., D]."""
        return head_values(hidden, self.value_head[...])


def head_values(hidden: jax.Array, head: jax.Array) -> jax.Array:
    """Float32 [...] from ``hidden`` [..., D] and ``head`` [D]."""
    return jnp.einsum("...d,d->...", hidden.astype(jnp.float32), head.astype(jnp.float32))


def make_value_graphdef(config: LlamaConfig, **options: Any) -> GraphDef:
    """`split`'s description of ``ValueModel(config, **options)`` without making any parameter."""
    return nnx.split(nnx.eval_shape(lambda: ValueModel(config, rngs=nnx.Rngs(0), **options)))[0]


def value_params(llama: Params) -> Params:
    """A critic's parameters that start from those of a Llama, with a head of zeros.

    Arrays of the tower are the same objects: copy them before donating either to a compiled step.
    """
    tower = {name: value for name, value in llama.items() if name != "lm_head"}
    return {"tower": tower, **value_head(llama)}


def value_head(llama: Params) -> Params:
    """A head of zeros for the tower of a Llama: all the parameters of a critic that shares the actor's."""
    return {"value_head": jnp.zeros_like(llama["norm"])}
