"""Rows of the embedding, and their gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tl_jax.model.platform import platform
from tl_jax.model.sharding import constrain


@jax.custom_vjp
def lookup(table: jax.Array, tokens: jax.Array) -> jax.Array:
    """The rows of ``table`` [V, D] at ``tokens`` int [B, T]: [B, T, D].

    The gradient is added up in float32 whatever the table's dtype, and rounded once: in bfloat16 the 300th occurrence
    of a token would add nothing. An id outside the vocabulary gives NaN, which is seen, and not another token's row,
    which is not.
    """
    return jnp.take(table, tokens, axis=0, mode="fill", fill_value=jnp.nan)


def _forward(table: jax.Array, tokens: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return lookup(table, tokens), (table, tokens)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, None]:
    table, tokens = kept
    summed = jnp.zeros(table.shape, jnp.float32)
    if platform() == "tpu" and jax.sharding.get_abstract_mesh().shape.get("data") == 1:
        summed = by_rows(summed, tokens, gradient)
    else:
        summed = _added(summed, tokens, gradient)
    return summed.astype(table.dtype), None


def by_rows(table: jax.Array, tokens: jax.Array, gradient: jax.Array) -> jax.Array:
    """``gradient`` added to the rows of ``table`` one row of the batch after another, for a TPU.

    It sorts what it adds up, and a sort of the whole batch takes its compiler as long as four or five products of a
    layer. Where no mesh says how rows are spread, each device would be sent all of them.
    """
    tokens, gradient = constrain(tokens, None, None), constrain(gradient, None, None, "embed")

    def add(table: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return _added(constrain(table, "vocab", "embed"), *row), None

    return jax.lax.scan(add, table, (tokens, gradient))[0]


def _added(table: jax.Array, tokens: jax.Array, gradient: jax.Array) -> jax.Array:
    return table.at[tokens].add(gradient.astype(jnp.float32), mode="drop")


lookup.defvjp(_forward, _backward)
