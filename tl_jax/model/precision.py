"""Compute copies: what a step multiplies with, beside what is trained or stored in another dtype."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tl_jax.model.families import map_parameters
from tl_jax.model.host_memory import is_in_host_memory, on_device
from tl_jax.model.llama import GraphDef, merge
from tl_jax.model.parameters import Parameter, Params


def in_compute_dtype(params: Params, dtype: jax.typing.DTypeLike) -> Params:
    """Parameters in the dtype they are used in, made once and not at every use; norms and codes stay as they are.

    To be called outside loops. What ``fsdp`` gathers is then the copy, half of a float32 master, and a model stored in
    ``dtype`` computes the same to the last bit. Layers in the host's memory stay there until they are used.

    Args:
        params: of one model or of several, by the records of `Parameter`.
        dtype: of the computation.
    """

    def copy(parameter: Parameter, leaf: jax.Array) -> jax.Array:
        if is_in_host_memory(leaf):
            if parameter.in_layers:
                return leaf
            leaf = on_device(leaf)
        if not parameter.casts or leaf.dtype == dtype or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        # Without it XLA may cast anew at every use, gather before it casts, or, where the device multiplies in float32
        # anyway, leave the cast out.
        held: jax.Array = jax.lax.optimization_barrier(leaf.astype(dtype))
        return held

    copies: Params = map_parameters(copy, params)
    return copies


def merge_copies(graphdef: GraphDef, params: Params) -> Any:
    """The model of `in_compute_dtype`, for what takes no gradient."""
    return merge(graphdef, in_compute_dtype(params, compute_dtype(graphdef, params)))


def compute_dtype(graphdef: GraphDef, params: Params) -> jnp.dtype:
    """The dtype that a language model of these parameters, or of their shapes, computes in."""
    dtype: jnp.dtype = merge(graphdef, params).dtype
    return dtype
