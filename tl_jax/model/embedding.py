"""Rows of the embedding, and their gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
    summed = jnp.zeros(table.shape, jnp.float32).at[tokens].add(gradient.astype(jnp.float32), mode="drop")
    return summed.astype(table.dtype), None


lookup.defvjp(_forward, _backward)
