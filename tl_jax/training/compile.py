"""Where a training state lies on the mesh, and how steps are compiled: shardings and donation are decided here only.

Steps are traced under ``jax.set_mesh(mesh)``, which the caller enters once around its loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import Mesh

from tl_jax.config.model import Offload
from tl_jax.model.host_memory import given_at, in_host_memory
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import batch_sharding, param_shardings, replicated
from tl_jax.training.checkpoint import abstract
from tl_jax.training.memory import needed, shortage
from tl_jax.training.state import State, TrainState, without_frozen


def state_shardings(state: State, mesh: Mesh, offload: Collection[Offload] = ()) -> State:
    """The `NamedSharding` of every leaf of a state (arrays or shapes), in its structure.

    Args:
        state: arrays or shapes.
        mesh: the devices.
        offload: what of it lies in their hosts' memory: ``reference``, or ``moments`` (numbers of an optimizer stay).

    Raises:
        ConfigError: the devices have no such memory.
    """
    places = replace(param_shardings(replace(state, key=None), mesh), key=replicated(mesh))  # type: ignore[arg-type]
    if "moments" in offload:
        moments = jax.tree.map(
            lambda leaf, place: in_host_memory(place) if leaf.ndim else place, state.opt_state, places.opt_state
        )
        places = replace(places, opt_state=moments)
    if "reference" in offload:
        places = replace(places, frozen=jax.tree.map(in_host_memory, places.frozen))
    return places


def abstract_state(
    init: Callable[[Params], State], params: Params, mesh: Mesh, offload: Collection[Offload] = ()
) -> State:
    """Shapes and places of ``init(params)``; shapes suffice for ``params``, and nothing is allocated."""
    shapes = jax.eval_shape(init, params)
    return abstract(shapes, state_shardings(shapes, mesh, offload))


def start_state(
    init: Callable[[Params], State], params: Params, mesh: Mesh, offload: Collection[Offload] = ()
) -> State:
    """``init(params)``, each leaf made where it lies. ``params`` are used up."""
    places = shardings(abstract_state(init, params, mesh, offload))
    state: State = _use_up(init, places, params)
    return state


def start_frozen(
    init: Callable[[Params], State], params: Params, mesh: Mesh, offload: Collection[Offload] = ()
) -> Params:
    """Only what is frozen of `start_state`, for a run that has the rest from a checkpoint. ``params`` are used up."""
    places = shardings(abstract_state(init, params, mesh, offload).frozen)
    frozen: Params = _use_up(lambda params: init(params).frozen, places, params)
    return frozen


def _use_up(make: Callable[[Params], Any], places: Any, params: Params) -> Any:
    with warnings.catch_warnings():  # what is kept in another dtype takes no parameter's place, which is freed after
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        return jax.jit(make, out_shardings=places, donate_argnums=0)(params)


class CompiledStep:
    """``step(state, batch) -> (state, metrics)``, compiled when first called. See `compile_step`."""

    def __init__(self, jitted: jax.stages.Wrapped, warn: Callable[[str], None] | None) -> None:
        """``jitted`` takes what is trained and what is frozen apart, and gives the former."""
        self._jitted, self._warn = jitted, warn

    def __call__(self, state: State, batch: Any) -> tuple[State, Any]:
        if self._warn:
            warn, self._warn = self._warn, None
            if problem := shortage(needed(self.lower(state, batch).compile())):  # compiled once all the same
                warn(problem)
        new, metrics = self._jitted(without_frozen(state), state.frozen, batch)
        return replace(new, frozen=state.frozen), metrics

    def lower(self, state: TrainState, batch: Any) -> jax.stages.Lowered:
        """The program for arguments of these shapes and places, arrays or abstract ones; it can be compiled unrun."""
        return self._jitted.lower(without_frozen(state), state.frozen, batch)


def compile_step(
    step: Callable[..., Any],
    state: State,
    mesh: Mesh,
    warn: Callable[[str], None] | None = None,
    places: Any = None,
) -> CompiledStep:
    """``step(state, batch) -> (state, metrics)``, compiled when first called.

    The old state is used up, all but what is frozen: that goes in beside it and comes out untouched.

    Args:
        step: pure.
        state: placed arrays, or the abstract ones; the new state lies where it does.
        mesh: rows of the batch are spread over it; the metrics are on all of its devices.
        warn: is told before the first step if it needs more memory than the devices have.
        places: of what is in the batch, where not all of it has rows.
    """
    learned = shardings(without_frozen(state))

    def unfrozen(learned: State, frozen: Params, batch: Any) -> tuple[State, Any]:
        new, metrics = step(replace(learned, frozen=frozen), batch)
        return without_frozen(new), metrics

    jitted = jax.jit(
        unfrozen,
        in_shardings=(learned, shardings(state.frozen), places or batch_sharding(mesh)),
        out_shardings=(jax.tree.map(given_at, learned), replicated(mesh)),
        donate_argnums=0,
    )
    return CompiledStep(jitted, warn)


def compile_eval(
    step: Callable[..., Any], params: Params | State, mesh: Mesh, places: Any = None
) -> jax.stages.Wrapped:
    """``step(params, batch) -> sums``, compiled when first called; nothing is used up.

    ``places`` are those of what it gives, where it is not on all devices.
    """
    return jax.jit(
        step, in_shardings=(shardings(params), batch_sharding(mesh)), out_shardings=places or replicated(mesh)
    )


def shardings(tree: Any) -> Any:
    """Where the leaves of a tree lie, arrays or abstract ones."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)
