"""Rows in another order and back, and some of their positions, without a sort or a sum: XLA's compiler for TPUs takes
many seconds over each."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.model.platform import platform


class RowOrder(NamedTuple):
    """A permutation of every row's positions. int32 [B, T], each the other's inverse."""

    source: jax.Array
    """the position that each place is filled from"""
    place: jax.Array
    """where each position goes"""

    @property
    def inverse(self) -> RowOrder:
        """The way back."""
        return RowOrder(self.place, self.source)


def masked_first(mask: jax.Array) -> RowOrder:
    """The positions of ``mask`` bool [B, T] before all others; either kind keeps its order."""
    counted = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
    positions = jnp.arange(mask.shape[1], dtype=jnp.int32)
    place = jnp.where(mask, counted - 1, counted[:, -1:] + positions - counted)
    source = jax.vmap(lambda at: jnp.zeros_like(at).at[at].set(positions, unique_indices=True))(place)
    return RowOrder(source, place)


@jax.custom_vjp
def reordered(x: jax.Array, order: RowOrder) -> jax.Array:
    """``x`` [B, T, ...] in that order. The gradient goes the way back, where `jax.numpy.take` would add it up."""
    return jax.vmap(_at)(x, order.source)


def _at(row: jax.Array, places: jax.Array) -> jax.Array:
    # None is negative or beyond the end, as `jax.numpy.take_along_axis` would allow for in a dozen operations.
    return row.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False, unique_indices=True)


def _forward(x: jax.Array, order: RowOrder) -> tuple[jax.Array, RowOrder]:
    return reordered(x, order), order


def _backward(order: RowOrder, gradient: jax.Array) -> tuple[jax.Array, None]:
    return reordered(gradient, order.inverse), None


reordered.defvjp(_forward, _backward)


class Wanted(NamedTuple):
    """Some positions of every row, and whichever others fill them up to W."""

    order: RowOrder
    """those positions first"""
    most: int
    """W: no row has more of them"""

    @classmethod
    def where(cls, mask: jax.Array, most: int) -> Wanted:
        """Of bool [B, T]."""
        return cls(masked_first(mask), min(most, mask.shape[1]))

    @staticmethod
    def saves_work() -> bool:
        """Whether models make something of it. Accelerators have kernels for whole rows, and would copy the weights of
        all other layers."""
        return platform() == "cpu"

    def only(self, tree: Any) -> Any:
        """[B, T, ...] -> [B, W, ...]"""
        return jax.tree.map(lambda x: reordered(x, self.order)[:, : self.most], tree)

    def back(self, x: jax.Array) -> jax.Array:
        """[B, W, ...] -> [B, T, ...], 0 elsewhere."""
        rest = self.order.source.shape[1] - self.most
        return reordered(jnp.pad(x, [(0, 0), (0, rest)] + [(0, 0)] * (x.ndim - 2)), self.order.inverse)
