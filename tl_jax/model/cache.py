"""Keys and values of what a model has read, so that a new token costs one column of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention import AttentionMask
from tl_jax.model.config import LlamaConfig
from tl_jax.model.kv_dtype import Codes, Numbers, encoded, zeros
from tl_jax.model.sharding import constrain


@dataclass(frozen=True)
class CacheLayout:
    """How the cache of a model lies in memory, but for how much there is of it."""

    config: LlamaConfig
    dtype: jnp.dtype
    """of keys and values; int8 = `Codes`"""
    loop: int = 1
    """layers in a stack"""


class Cache(NamedTuple):
    """One array per stack of layers (`stacks_of`), so that a decoding step writes in place. B rows, C places, G
    key/value heads, K head size.

    Row b holds its tokens in the places 0 to ``lengths[b] - 1``; nobody sees what lies behind them.
    """

    keys: tuple[Numbers, ...]
    """[n, B, C, G, K], n layers in each, after rotation"""
    values: tuple[Numbers, ...]
    """[n, B, C, G, K]"""
    lengths: jax.Array
    """int32 [B]"""

    @classmethod
    def empty(cls, layout: CacheLayout, rows: int, places: int) -> Cache:
        """For ``places`` tokens in each of ``rows`` rows, with nothing in it."""
        config = layout.config
        shape = (rows, places, config.num_kv_heads, config.head_dim)
        counts = [len(layers) for layers in stacks_of(config.num_layers, layout.loop)]
        stacks = [jax.tree.map(held, zeros((n, *shape), layout.dtype)) for n in counts * 2]
        keys, values = tuple(stacks[: len(counts)]), tuple(stacks[len(counts) :])
        return cls(keys, values, jnp.zeros(rows, jnp.int32))

    @property
    def rows(self) -> int:
        """B."""
        return self._shape[1]

    @property
    def places(self) -> int:
        """Tokens for which a row has room, C."""
        return self._shape[2]

    @property
    def _shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = jax.tree.leaves(self.keys)[0].shape
        return shape

    def mask(self, new: int = 1) -> AttentionMask:
        """What ``new`` tokens of each row see once they are written behind the others: those and what is not after
        themselves."""
        order = jnp.broadcast_to(jnp.arange(self.places, dtype=jnp.int32), (self.rows, self.places))
        positions = self.lengths[:, None] + jnp.arange(new, dtype=jnp.int32)
        return AttentionMask(positions, jnp.ones_like(positions), order, jnp.ones_like(order))


def stacks_of(layers: int, loop: int) -> list[range]:
    """Layers in groups of ``loop``, each of which is one loop; of what is left over, the last.

    Example:
        >>> stacks_of(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(first, min(first + loop, layers)) for first in range(0, layers, loop)]


def write(kept: Numbers, new: jax.Array, layer: jax.Array, lengths: jax.Array) -> Numbers:
    """Puts ``new`` [B, S, G, K] into one layer of ``kept`` [n, B, C, G, K], each row's behind its ``lengths`` [B]
    tokens; where there is no room, over the last ones."""
    places = jnp.stack([jnp.broadcast_to(layer, lengths.shape), lengths], axis=1)

    def put(kept: jax.Array, new: jax.Array) -> jax.Array:
        mode = jax.lax.GatherScatterMode.CLIP
        return jax.lax.scatter(kept, places, new, _BEHIND, unique_indices=True, mode=mode)

    dtype = jnp.int8 if isinstance(kept, Codes) else kept.dtype
    written: Numbers = jax.tree.map(put, kept, encoded(new, dtype))
    return written


_BEHIND = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1, 2, 3),
    inserted_window_dims=(0,),
    scatter_dims_to_operand_dims=(0, 2),
    operand_batching_dims=(1,),
    scatter_indices_batching_dims=(0,),
)
"""A layer and a place for each row; that rows stay with their device, indices of rows would not say."""


def held(x: jax.Array) -> jax.Array:
    """Keys or values [n, B, C, G, K] where they lie on the mesh."""
    return constrain(x, None, "batch", None, "kv_heads", None)
