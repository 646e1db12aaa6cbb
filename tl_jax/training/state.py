"""What a training step reads and returns: what is trained, what is not, and where the optimizer stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from tl_jax.model.parameters import Params, assemble

State = TypeVar("State", bound="TrainState")
_DROPPING = 0x64726F70
"""Folded into a key, so that nothing else that is drawn from it has the same noise."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """One pytree with everything a step needs besides its batch.

    Gradient, clipping, weight decay, optimizer, donation and checkpoint see ``trainable`` only.
    """

    step: jax.Array
    """int32 scalar: updates done."""
    trainable: Params
    frozen: Params
    """never changes and is never saved: whoever continues a run makes it again, see `Run.begin`."""
    opt_state: optax.OptState
    key: jax.Array
    """uint32 [2]: raw key data, which checkpoints store like any array; see `fold_key`."""

    @property
    def params(self) -> Params:
        """Everything a model is merged from."""
        return assemble(self.trainable, self.frozen)


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    seed: int,
    adapt: Callable[[Params, jax.Array], tuple[Params, Params]] | None = None,
) -> TrainState:
    """The state before the first update.

    Args:
        params: a model's.
        optimizer: of what is trained.
        seed: of the key.
        adapt: makes what is trained, and what is frozen, of ``params`` and a key; None = all of ``params`` is trained.
    """
    key = jax.random.key(seed)
    trainable, frozen = (params, {}) if adapt is None else adapt(params, key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        opt_state=optimizer.init(trainable),
        key=jax.random.key_data(key),
    )


def without_frozen(state: State) -> State:
    """What a step gives anew and a checkpoint holds."""
    return replace(state, frozen={})


def fold_key(state: TrainState, ahead: int = 0) -> jax.Array:
    """A typed PRNG key of this step alone, or of one so many steps ahead: the same after a restart."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step + ahead)


def dropout_keys(key: jax.Array, rows: tuple[int, ...]) -> jax.Array:
    """A key for each of ``rows``, for a model that drops something, out of the ``key`` of what is computed of them."""
    return jax.random.split(jax.random.fold_in(key, _DROPPING), rows)
