"""A batch in parts that run one after another, so that only one part's activations are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.model.parameters import Params
from tl_jax.training.tracing import with_shapes, zeros

Path = tuple[str, ...]
Tree = TypeVar("Tree")
Sums = TypeVar("Sums")


def split(tree: Tree, parts: int) -> Tree:
    """[B, ...] -> [parts, B / parts, ...]; part i has the rows i, i + parts, ...: a share of every device's rows."""
    if parts == 1:
        return jax.tree.map(lambda x: x[None], tree)
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), tree)


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
    first = _first(parts)
    if wanted is None and _is_one(parts):
        whole: Sums = jax.tree.map(lambda x: x.astype(jnp.float32), function(first))
        return whole
    function, shapes = with_shapes(function, first)

    def add(sums: Sums, part: Tree) -> Sums:
        total: Sums = jax.tree.map(jnp.add, sums, function(part))
        return total

    return _one_after_another(add, zeros(shapes, jnp.float32), parts, needed, wanted)


def _first(parts: Tree) -> Tree:
    first: Tree = jax.tree.map(lambda x: x[0], parts)
    return first


def _is_one(parts: Any) -> bool:
    return bool(jax.tree.leaves(parts)[0].shape[0] == 1)


def _one_after_another(
    add: Callable[[Sums, Tree], Sums],
    zero: Sums,
    parts: Tree,
    needed: Callable[[Tree], jax.Array] | None,
    wanted: jax.Array | None,
) -> Sums:
    """``add`` makes of the sums so far, ``zero`` at first, and a part the sums with it."""
    if needed is None and wanted is None:
        total: Sums = jax.lax.scan(lambda sums, part: (add(sums, part), None), zero, parts)[0]
        return total
    # a loop over those there are, and no condition in it: what goes through one may be in memory twice
    holding = jnp.ones(len(jax.tree.leaves(parts)[0]), bool) if needed is None else jax.vmap(needed)(parts)
    if wanted is not None:
        holding &= wanted
    order = jnp.argsort(~holding, stable=True)

    def add_next(index: jax.Array, sums: Any) -> Any:
        return add(sums, jax.tree.map(lambda x: x[order[index]], parts))

    total = jax.lax.fori_loop(0, jnp.sum(holding), add_next, zero)
    return total


def add_gradients(
    loss: Callable[[Params, Params, Tree], tuple[jax.Array, Sums]],
    learning: Params,
    in_place: Iterable[Path],
    parts: Tree,
    needed: Callable[[Tree], jax.Array] | None = None,
    wanted: jax.Array | None = None,
) -> tuple[Params, Sums]:
    """The gradient of ``loss`` for ``learning`` and what it tells besides, added up over ``parts`` in float32.

    Args:
        loss: of ``learning``, of the sums so far of what is added ``in_place`` (empty in the only part), and of a part.
        learning: what is differentiated.
        in_place: paths in ``learning`` of what the loss itself adds the gradient of to the sums, see `through_adding`.
        parts: as for `add_up`, and so ``needed`` and ``wanted``.
    """
    gradient, in_place = jax.grad(loss, argnums=(0, 1), has_aux=True), frozenset(in_place)

    def of_part(part: Tree) -> tuple[Params, Sums]:
        (given, _), told = gradient(learning, {}, part)
        return given, told

    if not in_place or (wanted is None and _is_one(parts)):
        return add_up(of_part, parts, needed, wanted)
    told = jax.eval_shape(lambda part: loss(learning, {}, part)[1], _first(parts))

    def add(sums: tuple[Params, Sums], part: Tree) -> tuple[Params, Sums]:
        so_far = flatten_dict(sums[0])
        own = unflatten_dict({path: leaf for path, leaf in so_far.items() if path in in_place})
        (given, added), told = gradient(learning, own, part)
        rest, added = flatten_dict(given), flatten_dict(added)
        # in place, the rest is what the loss makes of parameters besides: nothing, as a rule, which XLA leaves out
        total = {path: (added if path in in_place else so_far)[path] + rest[path] for path in so_far}
        return unflatten_dict(total), jax.tree.map(jnp.add, sums[1], told)

    return _one_after_another(add, zeros((learning, told), jnp.float32), parts, needed, wanted)
