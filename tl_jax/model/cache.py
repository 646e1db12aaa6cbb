"""Keys and values of what a model has read, so that a new token costs one column of attention."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention import AttentionMask
from tl_jax.model.config import LlamaConfig
from tl_jax.model.sharding import constrain


class Cache(NamedTuple):
    """One array per layer, so that a decoding step writes in place. B rows, C slots, G key/value heads, K head size."""

    keys: tuple[jax.Array, ...]
    """L arrays [B, C, G, K], after rotation"""
    values: tuple[jax.Array, ...]
    """L arrays [B, C, G, K]"""
    positions: jax.Array
    """int32 [B, C]"""
    segment_ids: jax.Array
    """int32 [B, C]; 0 where nothing is to be seen"""
    length: jax.Array
    """int32 []: slots written so far"""

    @classmethod
    def empty(cls, config: LlamaConfig, dtype: jax.typing.DTypeLike, rows: int, slots: int) -> Cache:
        """For ``slots`` tokens in each of ``rows`` rows, with nothing in it."""
        shape = (rows, slots, config.num_kv_heads, config.head_dim)
        zeros = constrain(jnp.zeros(shape, dtype), "batch", None, "kv_heads", None)
        nothing = constrain(jnp.zeros((rows, slots), jnp.int32), "batch", None)
        per_layer = (zeros,) * config.num_layers
        return cls(per_layer, per_layer, nothing, nothing, jnp.zeros((), jnp.int32))

    def extended(self, slots: int) -> Cache:
        """The same with room for ``slots`` more tokens."""

        def longer(x: jax.Array) -> jax.Array:
            return jnp.pad(x, [(0, 0), (0, slots)] + [(0, 0)] * (x.ndim - 2))

        return jax.tree.map(lambda x: longer(x) if x.ndim else x, self)

    def mask(self, positions: jax.Array, segment_ids: jax.Array) -> AttentionMask:
        """What S new tokens [B, S] see once they are written after the others: the cache and themselves."""
        return AttentionMask(
            positions,
            segment_ids,
            write(self.positions, positions, self.length),
            write(self.segment_ids, segment_ids, self.length),
        )


def write(slots: jax.Array, new: jax.Array, start: jax.Array) -> jax.Array:
    """Puts ``new`` [B, S, ...] into ``slots`` [B, C, ...] from slot ``start`` on."""
    return jax.lax.dynamic_update_slice_in_dim(slots, new.astype(slots.dtype), start, axis=1)
