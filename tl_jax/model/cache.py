"""Keys and values of what a model has read, so that a new token costs one column of attention."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention import AttentionMask
from tl_jax.model.config import LlamaConfig
from tl_jax.model.sharding import constrain


class Cache(NamedTuple):
    """One array per layer, so that a decoding step writes in place. B rows, C places, G key/value heads, K head size.

    Row b holds its tokens in the places 0 to ``lengths[b] - 1``; nobody sees what lies behind them.
    """

    keys: tuple[jax.Array, ...]
    """L arrays [B, C, G, K], after rotation"""
    values: tuple[jax.Array, ...]
    """L arrays [B, C, G, K]"""
    lengths: jax.Array
    """int32 [B]"""

    @classmethod
    def empty(cls, config: LlamaConfig, dtype: jax.typing.DTypeLike, rows: int, places: int) -> Cache:
        """For ``places`` tokens in each of ``rows`` rows, with nothing in it."""
        shape = (rows, places, config.num_kv_heads, config.head_dim)
        keys, values = (
            tuple(held(jnp.zeros(shape, dtype)) for _ in range(config.num_layers)) for _ in ("keys", "values")
        )
        return cls(keys, values, jnp.zeros(rows, jnp.int32))

    def mask(self, new: int = 1) -> AttentionMask:
        """What ``new`` tokens of each row see once they are written behind the others: those and what is not after
        themselves."""
        rows, places = len(self.lengths), self.keys[0].shape[1]
        order = jnp.broadcast_to(jnp.arange(places, dtype=jnp.int32), (rows, places))
        positions = self.lengths[:, None] + jnp.arange(new, dtype=jnp.int32)
        return AttentionMask(positions, jnp.ones_like(positions), order, jnp.ones_like(order))


def write(held: jax.Array, new: jax.Array, lengths: jax.Array) -> jax.Array:
    """Puts ``new`` [B, S, G, K] into ``held`` [B, C, G, K], each row's behind its ``lengths`` [B] tokens."""

    def one(row: jax.Array, tokens: jax.Array, length: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(row, tokens, length, axis=0)

    return jax.vmap(one)(held, new.astype(held.dtype), lengths)


def held(x: jax.Array) -> jax.Array:
    """Keys or values [B, C, G, K] where they lie on the mesh."""
    return constrain(x, "batch", None, "kv_heads", None)
