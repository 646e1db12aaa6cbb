"""Updates whose layers add their gradients to the sums in place, against those that add up what JAX derives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, Mesh

from tests.rl.helpers import drifted_state, initial, moved, random_rollout, spec_of
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import AlgorithmConfig, MeshConfig
from tl_jax.model import llama
from tl_jax.model.llama import init_params
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import MESH_AXES, batch_devices, batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.step import make_rl_step
from tl_jax.training.compile import compile_step, start_state


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each model that was read with sums to add to; models read rows as on an accelerator."""
    read: list[Any] = []
    through = llama.through_adding
    monkeypatch.setattr(llama, "through_adding", lambda *given: read.append(given) or through(*given))
    monkeypatch.setattr(Wanted, "saves_work", staticmethod(lambda: False))
    return read


@pytest.mark.parametrize(
    ("options", "models"),
    [
        ({"critic_backbone": "shared", "entropy_coef": 0.1}, 1),
        pytest.param({"critic_backbone": "sft", "critic_warmup": 1}, 2, marks=pytest.mark.slow),
        ({"estimator": "rloo", "minibatches": 2}, 1),
    ],
    ids=["shared backbone", "a critic of its own", "no critic"],
)
def test_sums_in_place_make_the_same_update(
    options: dict[str, Any], models: int, readings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AlgorithmConfig(**options, kl_in="loss", kl_estimator="k2", kl_coef=0.2)
    group = {"group_size": 2} if "estimator" in options else {}
    state = replace(drifted_state(config, sgd := optax.sgd(1.0)), step=jnp.int32(1))  # warm
    rollout = random_rollout(rows=24, width=24, layout=Layout(tokens=128, minibatches=config.minibatches, **group))

    def step() -> Any:
        return jax.jit(make_rl_step(spec_of(sgd, config, **group)))(state, rollout)

    new, metrics = step()
    assert len({id(given[3]) for given in readings}) >= models
    readings.clear()
    monkeypatch.setattr(llama.Llama, "adding", lambda self: [])
    expected, told = step()
    assert not readings
    assert all(moved(expected.trainable[name], state.trainable[name]) for name in state.trainable)
    assert_trees_close(new.trainable, expected.trainable, rtol=1e-6)
    assert_trees_close(metrics, told, rtol=1e-6)


@pytest.mark.slow
def test_sums_in_place_are_sharded_like_the_parameters(readings: list[Any]) -> None:
    config, adam = AlgorithmConfig(accumulate=2, critic_backbone="shared"), optax.adam(1e-3)

    def one_step(mesh: Mesh) -> Any:
        layout = Layout(group_size=4, devices=batch_devices(mesh), tokens=128)
        with jax.set_mesh(mesh):
            params = shard_tree(init_params(TINY, jax.random.key(7)), mesh)
            state = start_state(initial(config, adam), params, mesh)
            step = compile_step(make_rl_step(spec_of(adam, config)), state, mesh)
            rollout = make_global_array(random_rollout(rows=32, layout=layout), batch_sharding(mesh))
            return jax.device_get(step(state, rollout)[0].trainable)

    one = jax.make_mesh((1, 1, 1), MESH_AXES, devices=jax.devices()[:1], axis_types=(AxisType.Auto,) * 3)
    expected = one_step(one)
    assert readings
    assert_trees_close(one_step(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))), expected, rtol=1e-4)
