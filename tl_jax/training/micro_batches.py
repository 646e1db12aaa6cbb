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


def accumulate(function: Callable[[Tree], Sums], tree: Tree, parts: int) -> Sums:
    """The sum of ``function(part)`` over ``parts`` of ``tree``, added up once and in float32."""
    return add_up(function, split(tree, parts) if parts > 1 else jax.tree.map(lambda x: x[None], tree))


def add_up(
    function: Callable[[Tree], Sums],
    parts: Tree,
    needed: Callable[[Tree], jax.Array] | None = None,
    wanted: jax.Array | None = None,
) -> Sums:
    """The sum of ``function(part)`` over the first axis of ``parts``, in float32.

    Args:
        function: of a part.
        parts: [parts, ...] each.
        needed: bool scalar of a part; whether it adds anything. By default all do.
        wanted: bool scalar; whether anything is added up. Where it is not, the sum is 0 and nothing is computed.
    """
    first, count = jax.tree.map(lambda x: x[0], parts), jax.tree.leaves(parts)[0].shape[0]
    if count == 1 and wanted is None:
        whole: Sums = jax.tree.map(lambda x: x.astype(jnp.float32), function(first))
        return whole
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), jax.eval_shape(function, first))

    def add(sums: Any, part: Tree) -> Any:
        return jax.tree.map(jnp.add, sums, function(part))

    if needed is None and wanted is None:
        total: Sums = jax.lax.scan(lambda sums, part: (add(sums, part), None), zero, parts)[0]
        return total
    # a loop over those there are, and no condition in it: what goes through one may be in memory twice
    holding = jnp.ones(count, bool) if needed is None else jax.vmap(needed)(parts)
    if wanted is not None:
        holding &= wanted
    order = jnp.argsort(~holding, stable=True)

    def add_next(index: jax.Array, sums: Any) -> Any:
        return add(sums, jax.tree.map(lambda x: x[order[index]], parts))

    total = jax.lax.fori_loop(0, jnp.sum(holding), add_next, zero)
    return total
