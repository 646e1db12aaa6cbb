"""Keys and values of what a model has read, so that a new token costs one column of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.attention import AttentionMask, attention
from tl_jax.model.attention.cached import Beginnings, cached
from tl_jax.model.config import LlamaConfig
from tl_jax.model.kv_dtype import Codes, Numbers, decoded, encoded, zeros
from tl_jax.model.sharding import constrain


@dataclass(frozen=True)
class CacheLayout:
    """How the cache of a model lies in memory, but for how much there is of it."""

    config: LlamaConfig
    dtype: jnp.dtype
    """of keys and values; int8 = `Codes`"""
    loop: int = 1
    """layers in a stack"""


class Shared(NamedTuple):
    """What neighbouring rows of a cache begin with, once for all of them: U beginnings of up to P tokens.

    A head's tokens lie together, as a product with the queries of several rows reads them.
    """

    keys: tuple[Numbers, ...]
    """[n, U, G, P, K] per stack of layers, after rotation"""
    values: tuple[Numbers, ...]
    """[n, U, G, P, K]"""
    lengths: jax.Array
    """int32 [U]"""

    @property
    def places(self) -> int:
        """Tokens for which there is room, P."""
        return int(jax.tree.leaves(self.keys)[0].shape[3])

    def of_stack(self, number: int) -> Beginnings:
        """Those of one stack of layers."""
        return Beginnings(self.keys[number], self.values[number], self.lengths)


class Cache(NamedTuple):
    """One array per stack of layers (`stacks_of`), so that a decoding step writes in place. B rows, C places, G
    key/value heads, K head size.

    Row b holds its tokens, those behind its `Shared` beginning, in the first places; nobody sees what lies behind them.
    """

    keys: tuple[Numbers, ...]
    """[n, B, C, G, K], n layers in each, after rotation"""
    values: tuple[Numbers, ...]
    """[n, B, C, G, K]"""
    lengths: jax.Array
    """int32 [B], of the whole rows, beginnings included"""
    shared: Shared | None = None
    """of the rows 0 to B / U - 1 the first, and so on; None = no two rows begin alike"""

    @classmethod
    def empty(cls, layout: CacheLayout, rows: int, places: int, shared: tuple[int, int] | None = None) -> Cache:
        """With nothing in it.

        Args:
            layout: of the cache.
            rows: B.
            places: C.
            shared: U and P, where rows share beginnings.
        """
        config = layout.config
        counts = [len(layers) for layers in stacks_of(config.num_layers, layout.loop)]

        def stacks(*shape: int) -> tuple[Numbers, ...]:
            return tuple(zeros((n, *shape, config.head_dim), layout.dtype) for n in counts)

        def own() -> tuple[Numbers, ...]:
            return jax.tree.map(held, stacks(rows, places, config.num_kv_heads))

        if shared is None:
            return cls(own(), own(), jnp.zeros(rows, jnp.int32))
        count, most = shared
        keys, values = (jax.tree.map(held_shared, stacks(count, config.num_kv_heads, most)) for _ in range(2))
        beginnings = Shared(keys, values, jnp.zeros(count, jnp.int32))
        return cls(own(), own(), jnp.zeros(rows, jnp.int32), beginnings)

    @property
    def rows(self) -> int:
        """B."""
        return self._shape[1]

    @property
    def places(self) -> int:
        """Tokens for which a row has room behind its beginning, C."""
        return self._shape[2]

    @property
    def groups(self) -> int:
        """Into how many parts the rows fall, none of which shares anything with another: U, or B."""
        return self.rows if self.shared is None else len(self.shared.lengths)

    @property
    def begun(self) -> jax.Array:
        """Int32 [B]: tokens of each row that lie in `shared`."""
        if self.shared is None:
            return jnp.zeros_like(self.lengths)
        return jnp.repeat(self.shared.lengths, self.rows // self.groups, total_repeat_length=self.rows)

    @property
    def full(self) -> jax.Array:
        """Bool [B]: whether a row has no room for another token."""
        return self.lengths - self.begun >= self.places

    @property
    def _shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = jax.tree.leaves(self.keys)[0].shape
        return shape

    def mask(self, new: int = 1) -> AttentionMask:
        """What ``new`` tokens of each row see of the own places once they are written there: themselves and what is
        not after them. All of them see what is `shared`."""
        order = self.begun[:, None] + jnp.arange(self.places, dtype=jnp.int32)
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
    """Puts ``new`` [B, S, G, K] into one layer of ``kept`` [n, B, C, G, K], each row's behind its first ``lengths`` [B]
    places; where there is no room, over the last ones."""
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


def held_shared(x: jax.Array) -> jax.Array:
    """Shared keys or values [n, U, G, P, K] where they lie on the mesh."""
    return constrain(x, None, "batch", "kv_heads", None, None)


def attend_new(
    backend: str,
    mask: AttentionMask,
    dtype: jax.typing.DTypeLike,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
) -> tuple[jax.Array, tuple[Numbers, Numbers]]:
    """Attention of a prompt's tokens to themselves, as the cache has them, and what the cache has."""
    keys, values = encoded(key, dtype), encoded(value, dtype)
    seen = decoded(keys, key.dtype), decoded(values, value.dtype)
    return attention(query, *seen, mask, backend), (keys, values)


def attend_cache(
    kept: tuple[Numbers, Numbers],
    shared: Beginnings | None,
    layer: jax.Array,
    places: jax.Array,
    mask: AttentionMask,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
) -> tuple[jax.Array, tuple[Numbers, Numbers]]:
    """Attention of new tokens to one layer of a stack's keys and values, and these with the new ones in ``places``."""
    kept = write(kept[0], key, layer, places), write(kept[1], value, layer, places)
    keys, values = jax.tree.map(lambda stack: stack[layer], kept)
    return cached(query, keys, values, mask, None if shared is None else shared.of_layer(layer)), kept
