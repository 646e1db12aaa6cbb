"""What a training step reads and returns: what is trained, what is not, and where the optimizer stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from tl_jax.model.parameters import Params

State = TypeVar("State", bound="TrainState")


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


def init_state(params: Params, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first update, where all of ``params`` is trained."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=params,
        frozen={},
        opt_state=optimizer.init(params),
        key=jax.random.key_data(jax.random.key(seed)),
    )


def assemble(trainable: Params, frozen: Params) -> Params:
    """One nested dictionary with the leaves of both.

    Raises:
        ValueError: a leaf stands in both.

    Example:
        >>> assemble({"layers": {"q_adapter": 1}}, {"layers": {"q": 2}, "norm": 3})
        {'layers': {'q_adapter': 1, 'q': 2}, 'norm': 3}
    """
    both = dict(trainable)
    for name, value in frozen.items():
        if name in both and not (isinstance(both[name], dict) and isinstance(value, dict)):
            raise ValueError(f"parameter {name} is both trainable and frozen")
        both[name] = assemble(both[name], value) if name in both else value
    return both


def without_frozen(state: State) -> State:
    """What a step gives anew and a checkpoint holds."""
    return replace(state, frozen={})


def fold_key(state: TrainState) -> jax.Array:
    """A typed PRNG key of this step alone: the same after a restart, different at every step."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
