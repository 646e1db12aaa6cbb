"""What a training step reads and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = Any
"""Nested dict of arrays."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """One pytree with everything that has to survive a restart."""

    step: jax.Array
    """int32 scalar: updates done."""
    params: Params
    opt_state: optax.OptState
    key: jax.Array
    """uint32 [2]: raw key data, which checkpoints store like any array; see `fold_key`."""


def init_state(params: Params, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first update."""
    key = jax.random.key_data(jax.random.key(seed))
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params), key=key)


def fold_key(state: TrainState) -> jax.Array:
    """A typed PRNG key of this step alone: the same after a restart, different at every step."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
