"""The rows of a rollout on the device: what is read at once, and numbers taken to their places in rows and back.

What belongs to written tokens is kept by episode, arrays [B, N]; models read rows. Such numbers are few beside what a
model computes of them, so wherever they change places every device has all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import jax
import jax.numpy as jnp

from tl_jax.data.batch import Array
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import constrain
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.rows import Rows
from tl_jax.training.tracing import with_shapes, zeros

Tree = TypeVar("Tree")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MicroBatch:
    """What models read at once, R rows of T tokens, and what the policy wrote after some of them. Arrays [R, T]."""

    tokens: Array
    positions: Array
    segment_ids: Array
    branches: Array | None
    labels: Array
    mask: Array
    """bool: where there is a label"""
    kept: Array
    """bool: whose prediction or value is kept, a label or not"""
    most: int | None = field(default=None, metadata={"static": True})
    """as `Rows` has it"""
    dropout_keys: Array | None = None
    """[R], typed; None = models drop nothing"""

    @property
    def inputs(self) -> tuple[Array, Array, Array, Array | None]:
        """What `Llama.hidden` takes."""
        return self.tokens, self.positions, self.segment_ids, self.branches

    @property
    def wanted(self) -> Wanted | None:
        """Where it is read what the models say; None = wherever there is a token, or nobody counted."""
        return None if self.most in (None, self.kept.shape[-1]) else Wanted.where(self.kept, self.most)

    @property
    def holds_anything(self) -> jax.Array:
        """bool scalar."""
        return jnp.any(self.segment_ids > 0)


def by_updates(rows: Rows) -> Rows:
    """[R, U, M, T] -> [U, M, R, T]"""

    def turned(x: jax.Array) -> jax.Array:
        return constrain(jnp.moveaxis(x, 0, 2), None, None, "batch", None)

    return jax.tree.map(turned, rows)


def parts_of(rows: Rows, rollout: RolloutBatch) -> MicroBatch:
    """[..., R, T], for ``rows`` of any such shape."""
    labels, mask = at(rows.sources, (rollout.labels, rollout.mask))
    kept = rows.sources < rollout.mask.size
    return MicroBatch(rows.tokens, rows.positions, rows.segment_ids, rows.branches, labels, mask, kept, rows.most)


def at(sources: jax.Array, of_episodes: Tree) -> Tree:
    """Arrays [B, N] at their places in rows, 0 elsewhere: in the shape of ``sources``, see `Rows`."""

    def placed(x: jax.Array) -> jax.Array:
        return jnp.take(constrain(x, None, None).reshape(-1), sources, mode="fill", fill_value=0)

    return jax.tree.map(placed, of_episodes)


def of_episodes(sources: jax.Array, in_rows: Tree, shape: tuple[int, ...]) -> Tree:
    """The inverse of `at`: arrays [B, N], which is ``shape``; 0 in columns that stand in no row."""
    episodes, width = shape

    def placed(x: jax.Array) -> jax.Array:
        values, places = (replicate(each).reshape(-1) for each in (x, sources))
        flat = jnp.zeros(episodes * width, x.dtype).at[places].set(values, mode="drop")
        return constrain(flat.reshape(shape), "batch", None)

    return jax.tree.map(placed, in_rows)


def standing_in(sources: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """bool [B]: which of the episodes stand in rows with these ``sources``."""
    episodes, width = shape
    return jnp.zeros(episodes, bool).at[replicate(sources).reshape(-1) // width].set(True, mode="drop")


def read_once(read: Callable[[MicroBatch], Tree], rollout: RolloutBatch, minibatches: int) -> Tree:
    """What ``read`` makes of the parts of one epoch, [R, T] each, in the order of the episodes: [B, N], 0 elsewhere."""
    rows = jax.tree.map(lambda x: x[:minibatches].reshape(-1, *x.shape[2:]), by_updates(rollout.rows))
    return of_episodes(rows.sources, one_by_one(read, parts_of(rows, rollout)), rollout.mask.shape)


def one_by_one(read: Callable[[MicroBatch], Tree], parts: MicroBatch) -> Tree:
    """What ``read`` makes of each part, [R, T], of ``parts``, arrays [M, R, T]; 0 for those without a token."""
    read, shapes = with_shapes(read, jax.tree.map(lambda x: x[0], parts))
    return jax.lax.map(lambda part: jax.lax.cond(part.holds_anything, read, lambda _: zeros(shapes), part), parts)


def replicate(x: jax.Array) -> jax.Array:
    """The whole of it on every device."""
    return constrain(x, *[None] * x.ndim)
