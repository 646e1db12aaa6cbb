"""A batch in parts that run one after another, so that only one part's activations are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")
Sums = TypeVar("Sums")


def split(tree: Tree, parts: int) -> Tree:
    """[B, ...] -> [parts, B / parts, ...]; part i has the rows i, i + parts, ...: a share of every device's rows."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), tree)


def join(tree: Tree) -> Tree:
    """The inverse of `split`."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), tree)


def accumulate(function: Callable[[Tree], Sums], tree: Tree, parts: int) -> Sums:
    """The sum of ``function(part)`` over ``parts`` of ``tree``, added up once and in float32."""
    if parts == 1:
        whole: Sums = jax.tree.map(lambda x: x.astype(jnp.float32), function(tree))
        return whole
    rows = split(tree, parts)
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], rows))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)

    def add(sums: Any, part: Tree) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, function(part)), None

    total: Sums = jax.lax.scan(add, zero, rows)[0]
    return total
