"""Keys and values of what a model has read, so that a new token costs one column of attention."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention import AttentionMask
from tl_jax.model.config import LlamaConfig
from tl_jax.model.sharding import constrain


class Cache(NamedTuple):
    """One array per stack of layers (`stacks_of`), so that a decoding step writes in place. B rows, C places, G
    key/value heads, K head size.

    Row b holds its tokens in the places 0 to ``lengths[b] - 1``; nobody sees what lies behind them.
    """

    keys: tuple[jax.Array, ...]
    """arrays [n, B, C, G, K], n layers in each, after rotation"""
    values: tuple[jax.Array, ...]
    """arrays [n, B, C, G, K]"""
    lengths: jax.Array
    """int32 [B]"""

    @classmethod
    def empty(cls, config: LlamaConfig, dtype: jax.typing.DTypeLike, rows: int, places: int, loop: int = 1) -> Cache:
        """For ``places`` tokens in each of ``rows`` rows, with nothing in it; ``loop`` layers in a stack."""
        shape = (rows, places, config.num_kv_heads, config.head_dim)
        counts = [len(layers) for layers in stacks_of(config.num_layers, loop)]
        keys, values = (tuple(held(jnp.zeros((n, *shape), dtype)) for n in counts) for _ in ("keys", "values"))
        return cls(keys, values, jnp.zeros(rows, jnp.int32))

    @property
    def rows(self) -> int:
        """B."""
        return self.keys[0].shape[1]

    @property
    def places(self) -> int:
        """Tokens for which a row has room, C."""
        return self.keys[0].shape[2]

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


def write(held: jax.Array, new: jax.Array, layer: jax.Array, lengths: jax.Array) -> jax.Array:
    """Puts ``new`` [B, S, G, K] into one layer of ``held`` [n, B, C, G, K], each row's behind its ``lengths`` [B]
    tokens; where there is no room, over the last ones."""
    places = jnp.stack([jnp.broadcast_to(layer, lengths.shape), lengths], axis=1)
    return jax.lax.scatter(
        held,
        places,
        new.astype(held.dtype),
        _BEHIND,
        unique_indices=True,
        mode=jax.lax.GatherScatterMode.CLIP,
    )


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
