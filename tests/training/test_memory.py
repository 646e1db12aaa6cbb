"""A step without room is told before it runs, and is compiled once all the same."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tl_jax.config import MeshConfig
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.training import memory
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.state import TrainState, init_state


def test_what_a_program_needs_is_what_goes_in_and_out() -> None:
    number = jax.ShapeDtypeStruct((1000,), jnp.float32)
    doubled = jax.jit(lambda x: 2 * x)
    assert memory.needed(doubled.lower(number).compile()) == pytest.approx(2 * 4000, abs=1000)
    used_up = jax.jit(lambda x: 2 * x, donate_argnums=0)
    assert memory.needed(used_up.lower(number).compile()) == pytest.approx(4000, abs=1000)


@pytest.mark.parametrize(("there", "warns"), [(2**30, False), (100, True)])
def test_a_step_without_room_warns_once_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, there: int, warns: bool
) -> None:
    monkeypatch.setattr(memory, "available", lambda devices: there)
    compilations: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compilations.append(event) if event.endswith("backend_compile_duration") else None
    )
    mesh = make_mesh(MeshConfig())
    init = partial(init_state, optimizer=optax.sgd(0.1), seed=0)
    with jax.set_mesh(mesh):
        state = start_state(init, {"norm": jnp.ones(16)}, mesh)

        def step(state: TrainState, batch: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
            return state, {"loss": jnp.sum(batch)}

        told: list[str] = []
        compiled = compile_step(step, state, mesh, told.append)
        batch = make_global_array(np.ones(8, np.float32), batch_sharding(mesh))
        before = len(compilations)
        state, _ = compiled(state, batch)
        after_first = len(compilations)
        compiled(state, batch)
    assert after_first - before == 1
    assert len(compilations) == after_first
    assert [text.startswith("warning: a step needs 0.00 GiB on each device, of 0.00") for text in told] == [
        True
    ] * warns


def test_memory_is_the_devices_or_the_machines() -> None:
    total = memory.available(jax.devices()) * jax.device_count()
    assert total == pytest.approx(memory.available(jax.devices()[:1]), abs=jax.device_count())
