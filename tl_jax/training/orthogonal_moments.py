"""Updates as Muon has them: the first moment of a matrix, made orthogonal."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from tl_jax.model.families import map_parameters
from tl_jax.model.parameters import Parameter

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the polynomial that is iterated, as Muon's authors give them."""


class OrthogonalMoments(NamedTuple):
    """What is kept of the layers' matrices."""

    made: jax.Array
    """int32 scalar: updates made"""
    mu: Any
    """their first moments"""


def scale_by_orthogonal(
    beta: float, *, nesterov: bool, ns_steps: int, rms: float, mu_dtype: jax.typing.DTypeLike
) -> optax.GradientTransformation:
    """Muon's updates (https://kellerjordan.github.io/posts/muon/) of stacked matrices [L, ...], a layer after another:
    what a layer needs besides is large.

    An orthogonal matrix of ``n`` rows and ``m`` columns has the root mean square ``1 / sqrt(max(n, m))``; updates are
    brought to ``rms`` whatever their shape (https://arxiv.org/abs/2502.16982, equation 4).

    Args:
        beta: of the first moment.
        nesterov: the gradient counts once more.
        ns_steps: iterations.
        rms: root mean square of an update.
        mu_dtype: that the moment is kept in.
    """

    def init(params: Any) -> OrthogonalMoments:
        return OrthogonalMoments(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params, dtype=mu_dtype))

    def update(gradient: Any, state: OrthogonalMoments, params: Any = None) -> tuple[Any, OrthogonalMoments]:
        def of_matrices(parameter: Parameter, slope: jax.Array, mu: jax.Array) -> tuple[jax.Array, jax.Array]:
            sides = _sides_in_layer(parameter)
            of_one = optax.contrib.scale_by_muon(
                _NEWTON_SCHULZ, ns_steps, beta, mu_dtype=mu_dtype, nesterov=nesterov, weight_dimension_numbers=sides
            )
            scale = rms * math.sqrt(_longer_side(sides, slope.shape[1:]))

            def of_layer(part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                before = optax.contrib.MuonState(state.made, part[1], jnp.asarray(_NEWTON_SCHULZ, jnp.float32))
                direction, after = of_one.update(part[0], before)
                return direction * scale, after.mu

            return jax.lax.map(of_layer, (slope, mu))

        pairs = map_parameters(of_matrices, gradient, state.mu)
        directions, mu = (jax.tree.map(lambda pair, i=i: pair[i], pairs, is_leaf=_is_pair) for i in (0, 1))
        return directions, OrthogonalMoments(optax.safe_increment(state.made), mu)

    return optax.GradientTransformation(init, update)


def _sides_in_layer(parameter: Parameter) -> optax.contrib.MuonDimensionNumbers:
    """Inputs and outputs of one layer's matrix: without the layers' axis, which is the first."""
    sides = parameter.sides
    assert sides is not None
    return optax.contrib.MuonDimensionNumbers(*(tuple(axis - 1 for axis in side) for side in sides))


def _longer_side(sides: optax.contrib.MuonDimensionNumbers, shape: tuple[int, ...]) -> int:
    return max(math.prod(shape[axis] for axis in side) for side in sides)


def _is_pair(node: Any) -> bool:
    return type(node) is tuple
