"""Turns of episodes: what their tokens add up to, and what comes after them.

Arrays are ``[B, N]``: of tokens, as in `advantages.py`, or of turns, whose column is the turn's number. An episode has
at most as many turns as tokens, so both have ``N`` columns. ``turns`` (int32, of tokens) says which turn wrote a token;
``mask`` (bool, of tokens) where one was written.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def turn_sums(x: jax.Array, turns: jax.Array, mask: jax.Array) -> jax.Array:
    """[B, N] of turns: the sum of ``x`` over the tokens of each; 0 where there is no such turn."""
    rows = jnp.arange(x.shape[0])[:, None]
    return jnp.zeros_like(x).at[rows, turns].add(jnp.where(mask, x, 0.0))


def turns_present(turns: jax.Array, mask: jax.Array) -> jax.Array:
    """bool [B, N] of turns: whether the episode has such a turn."""
    return turn_sums(jnp.ones(mask.shape), turns, mask) > 0


def to_come(x: jax.Array) -> jax.Array:
    """[B, N] of turns: the sum over a turn and all that follow it."""
    return jnp.flip(jnp.cumsum(jnp.flip(x, axis=1), axis=1), axis=1)


def first_tokens(turns: jax.Array, mask: jax.Array) -> jax.Array:
    """bool [B, N] of tokens: the first token of each turn."""
    seen = jnp.cumsum(mask, axis=1)  # tokens written so far
    before = sum_before(turn_sums(jnp.ones(mask.shape), turns, mask))
    return mask & (seen == on_tokens(before, turns) + 1)


def sum_before(x: jax.Array) -> jax.Array:
    """[B, N] of turns: the sum over the turns before each."""
    return jnp.cumsum(x, axis=1) - x


def on_tokens(x: jax.Array, turns: jax.Array) -> jax.Array:
    """[B, N] of tokens: what ``x`` has for the turn of each."""
    return jnp.take_along_axis(x, turns, axis=1)
