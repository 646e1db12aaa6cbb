"""Optimizers whose state lies in the host's memory: a layer of it at a time is on the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.model.families import parameter_of
from tl_jax.model.host_memory import is_in_host_memory, on_device, to_host
from tl_jax.model.parameters import Params

Leaves = dict[str, jax.Array]
"""The leaves of a tree by their paths."""
Result = tuple[Params, optax.OptState]
"""Updates, and the new state."""


def from_host(optimizer: optax.GradientTransformation, by_layer: bool) -> optax.GradientTransformationExtraArgs:
    """The optimizer as it works where moments lie in the host's memory; the same where they do not.

    Its ``update`` takes ``learns``, bool scalar: False leaves moments in the host's memory as they are. Of others the
    caller may choose.

    Args:
        optimizer: elementwise or of each layer's matrix by itself, where ``by_layer``.
        by_layer: one layer's moments are on the devices at a time, not all.
    """

    def update(
        gradient: Params, state: optax.OptState, params: Any = None, *, learns: jax.Array | None = None, **_: Any
    ) -> Result:
        if not any(map(is_in_host_memory, jax.tree.leaves(state))):
            return optimizer.update(gradient, state, params)
        if not by_layer:
            return _fetched_update(optimizer, gradient, state, params, learns)
        of_layers, rest = (_subtree(gradient, layered) for layered in (True, False))
        new, updates = _leaves(state), Params()
        if rest:
            part = _part(optimizer, state, _subtree(params, False))
            given, after = _fetched_update(optimizer, rest, part, _subtree(params, False), learns)
            updates, new = given, new | _leaves(after)
        if of_layers:
            given, changed = _layer_by_layer(optimizer, of_layers, state, _subtree(params, True), learns)
            updates, new = _joined(updates, given), new | changed
        return updates, _filled(state, new)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _layer_by_layer(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    state: optax.OptState,
    params: Params,
    learns: jax.Array | None,
) -> tuple[Params, Leaves]:
    """Updates of stacked layers, and what they change in the state; both take the place of what went in."""
    whole = _part(optimizer, state, params)
    stacked = {path: leaf for path, leaf in _leaves(whole).items() if leaf.ndim}

    def layer(index: jax.Array, carry: tuple[Params, Leaves, Leaves]) -> tuple[Params, Leaves, Leaves]:
        gradient, stacked, _ = carry

        def own(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index, 1), tree)

        def put(tree: Any, layers: Any) -> Any:
            write = jax.lax.dynamic_update_slice_in_dim
            return jax.tree.map(lambda all_, one: write(all_, one.astype(all_.dtype), index, 0), tree, layers)

        part = _filled(whole, own(stacked))
        updates, after = _fetched_update(optimizer, own(gradient), part, own(params), learns)
        new = _leaves(after)
        return put(gradient, updates), put(stacked, {path: new[path] for path in stacked}), _numbers(after)

    count = jax.tree.leaves(gradient)[0].shape[0]
    updates, stacked, numbers = jax.lax.fori_loop(0, count, layer, (gradient, stacked, _numbers(whole)))
    return updates, stacked | numbers


def _fetched_update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    state: optax.OptState,
    params: Any,
    learns: jax.Array | None,
) -> Result:
    """One update with all of the state on the devices, which returns to where it was."""
    before = on_device(state)
    updates, after = optimizer.update(gradient, before, params)

    def returned(place: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
        if not is_in_host_memory(place):
            return new
        return to_host(new if learns is None else jnp.where(learns, new, old))

    return updates, jax.tree.map(returned, state, after, before)


def _part(optimizer: optax.GradientTransformation, state: optax.OptState, params: Params) -> optax.OptState:
    """What ``state`` has of some of the parameters."""
    return _filled(jax.eval_shape(optimizer.init, params), _leaves(state))


def _subtree(params: Params, layered: bool) -> Params:
    """The parameters of the layers, or all others."""
    chosen = {
        path: leaf
        for path, leaf in flatten_dict(params).items()
        if parameter_of(tuple(map(jax.tree_util.DictKey, path))).in_layers == layered
    }
    return unflatten_dict(chosen)


def _joined(one: Params, other: Params) -> Params:
    return unflatten_dict(flatten_dict(one) | flatten_dict(other))


def _leaves(tree: Any) -> Leaves:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _numbers(state: optax.OptState) -> Leaves:
    return {path: leaf for path, leaf in _leaves(state).items() if not leaf.ndim}


def _filled(tree: Any, leaves: Mapping[str, jax.Array]) -> Any:
    """A tree with other leaves; those that are not named stay."""
    fill: Callable[..., Any] = lambda path, leaf: leaves.get(jax.tree_util.keystr(path), leaf)  # noqa: E731
    return jax.tree_util.tree_map_with_path(fill, tree)
