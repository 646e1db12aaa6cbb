"""A loop of layers whose backward pass adds each layer's gradient to sums that are there already.

A batch is learnt from in parts, and the gradients of its parts are added up. The derivative of a loop hands out the
gradient of all layers at once, which then waits beside the sums: another copy of the model. Here a layer's gradient is
added as soon as it is there, and what waits is one layer's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tl_jax.model.parameters import Params

Step = Callable[[jax.Array, Params, Any], jax.Array]
"""(what a layer reads, its weights, what all layers read) -> what the next one reads."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def through_adding(step: Step, x: jax.Array, layers: Params, sums: Params, read: Any) -> jax.Array:
    """``x`` through all layers; each is computed again in the backward pass, of which only what it reads is kept.

    **The "gradient" of ``sums`` is ``sums`` and the gradient of ``layers``**, and that of ``layers`` is 0. That holds
    for one reading: whoever reads twice, or in a loop or a `jax.vmap` of his own, has ``sums`` in it more than once,
    and a `jax.lax.cond` of which the other branch is taken gives 0 in their place. So `Llama` gives sums to its
    first reading only, and refuses the others.

    Args:
        step: one layer.
        x: [B, T, D].
        layers: the weights, [L, ...] each.
        sums: of each of ``layers`` the gradients so far, float32.
        read: what all layers read, which is not differentiated.
    """
    return _forward(step, x, layers, sums, read)[0]


def _forward(step: Step, x: jax.Array, layers: Params, sums: Params, read: Any) -> tuple[jax.Array, tuple[Any, ...]]:
    def one(x: jax.Array, weights: Params) -> tuple[jax.Array, jax.Array]:
        return step(x, weights, read), x

    out, inputs = jax.lax.scan(one, x, layers)
    return out, (inputs, layers, sums, read)


def _backward(step: Step, kept: tuple[Any, ...], given: jax.Array) -> tuple[Any, ...]:
    inputs, layers, sums, read = kept

    def one(state: tuple[jax.Array, Params], at: tuple[jax.Array, Params, jax.Array]) -> tuple[Any, None]:
        given, sums = state
        x, weights, layer = at
        given, gradient = jax.vjp(lambda x, weights: step(x, weights, read), x, weights)[1](given)
        added = jax.tree.map(lambda total, leaf: total.at[layer].add(leaf.astype(total.dtype)), sums, gradient)
        return (given, added), None

    numbers = jnp.arange(len(inputs), dtype=jnp.int32)
    (d_x, added), _ = jax.lax.scan(one, (given, sums), (inputs, layers, numbers), reverse=True)
    return d_x, None, added, None


through_adding.defvjp(_forward, _backward)
