"""Where a training state lies on the mesh, and how steps are compiled: shardings and donation are decided here only.

Steps are traced under ``jax.set_mesh(mesh)``, which the caller enters once around its loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import jax
import optax
from jax.sharding import Mesh

from tl_jax.model.sharding import batch_sharding, param_shardings, replicated
from tl_jax.training.checkpoint import abstract
from tl_jax.training.state import Params, TrainState, init_state

State = TypeVar("State", bound=TrainState)


def state_shardings(state: State, mesh: Mesh) -> State:
    """The `NamedSharding` of every leaf of a state (arrays or shapes), in its structure."""
    return replace(param_shardings(replace(state, key=None), mesh), key=replicated(mesh))  # type: ignore[arg-type]


def abstract_state(params: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Shapes and places of the state that trains ``params`` (shapes suffice); nothing is allocated."""
    shapes = jax.eval_shape(partial(init_state, optimizer=optimizer, seed=0), params)
    return abstract(shapes, state_shardings(shapes, mesh))


def start_state(params: Params, optimizer: optax.GradientTransformation, seed: int, mesh: Mesh) -> TrainState:
    """The state before the first update, each leaf made where it lies. ``params`` are used up."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(params, optimizer, mesh))
    make = jax.jit(partial(init_state, optimizer=optimizer, seed=seed), out_shardings=places, donate_argnums=0)
    return make(params)


def compile_step(step: Callable[..., Any], state: Any, mesh: Mesh) -> Callable[..., Any]:
    """``step(state, batch) -> (state, metrics)``, compiled when first called; the old state is used up.

    Args:
        step: pure.
        state: any pytree of placed arrays, or the abstract one; the new state lies where it does.
        mesh: rows of the batch are spread over it; the metrics are on all of its devices.
    """
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jax.jit(
        step,
        in_shardings=(places, batch_sharding(mesh)),
        out_shardings=(places, replicated(mesh)),
        donate_argnums=0,
    )


def compile_eval(step: Callable[..., Any], params: Params, mesh: Mesh) -> Callable[..., Any]:
    """``step(params, batch) -> sums``, compiled when first called; nothing is used up."""
    places = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(step, in_shardings=(places, batch_sharding(mesh)), out_shardings=replicated(mesh))
