"""The second moment of gradients as Adafactor keeps it: of a matrix, the means of its rows and of its columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_jax.model.families import map_parameters
from tl_jax.model.parameters import Parameter

_SMALLEST = 1e-30
"""Added to squares, so that nothing is divided by 0 (the paper's epsilon 1)."""


class FactoredMoments(NamedTuple):
    """Means of squared gradients; float32, with the axes of their parameters, those that are averaged over of length 1.

    So each lies on the mesh where its parameter does.
    """

    made: jax.Array
    """int32 scalar: updates made"""
    outputs: Any
    """over the inputs of a matrix; of what is no matrix, the whole second moment"""
    inputs: Any
    """over the outputs of a matrix; of what is no matrix, one number that is not read"""


def scale_by_factored_moments(decay_rate: float) -> optax.GradientTransformation:
    """Divides gradients by the root of their second moment (https://arxiv.org/abs/1804.04235, algorithm 4).

    What the two sides of a matrix are, its record says (`Parameter.sides`); each layer has a matrix of its own.

    Args:
        decay_rate: ``c``: update ``n`` (from 1) keeps ``1 - n^-c`` of the moment.
    """

    def init(params: Any) -> FactoredMoments:
        return FactoredMoments(jnp.zeros((), jnp.int32), *jax.tree.map(jnp.zeros_like, _means(params)))

    def update(gradient: Any, state: FactoredMoments, params: Any = None) -> tuple[Any, FactoredMoments]:
        made = optax.safe_increment(state.made)
        keep = 1.0 - made.astype(jnp.float32) ** -decay_rate
        fresh = _means(jax.tree.map(lambda g: jnp.square(g) + _SMALLEST, gradient))
        old = (state.outputs, state.inputs)
        outputs, inputs = jax.tree.map(lambda then, now: keep * then + (1 - keep) * now, old, fresh)
        scaled = map_parameters(lambda p, g, *means: g * jax.lax.rsqrt(_moment(p, *means)), gradient, outputs, inputs)
        return scaled, FactoredMoments(made, outputs, inputs)

    return optax.GradientTransformation(init, update)


def _means(squares: Any) -> tuple[Any, Any]:
    """`FactoredMoments.outputs` and ``inputs`` of one update."""

    def over_inputs(parameter: Parameter, square: jax.Array) -> jax.Array:
        sides = parameter.sides
        return square if sides is None else jnp.mean(square, sides.inputs, keepdims=True)

    def over_outputs(parameter: Parameter, square: jax.Array) -> jax.Array:
        sides = parameter.sides
        return jnp.mean(square, over_matrix(parameter) if sides is None else sides.outputs, keepdims=True)

    return map_parameters(over_inputs, squares), map_parameters(over_outputs, squares)


def _moment(parameter: Parameter, outputs: jax.Array, inputs: jax.Array) -> jax.Array:
    """The second moment of every element: of a matrix the outer product of its means, divided by the mean of all."""
    sides = parameter.sides
    return outputs if sides is None else outputs * inputs / jnp.mean(outputs, sides.outputs, keepdims=True)


def over_matrix(parameter: Parameter) -> tuple[int, ...]:
    """All axes but that of the layers."""
    return tuple(range(int(parameter.in_layers), len(parameter.axes)))
