"""The programs of a step as training runs them, against the step as one function."""

from __future__ import annotations

from typing import Any

import jax
import optax
import pytest
from jax.sharding import AxisType, Mesh

from tests.rl.helpers import initial, random_rollout, spec_of
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import AlgorithmConfig, MeshConfig
from tl_jax.model.llama import init_params
from tl_jax.model.sharding import MESH_AXES, batch_devices, batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.compiled import CompiledRlStep
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.scores import scores_apart
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.rl.step import make_rl_step
from tl_jax.training import memory
from tl_jax.training.compile import compile_step, start_state

PPO = AlgorithmConfig(epochs=2, minibatches=2, accumulate=2, kl_coef=0.2, kl_target=0.5)
GRPO = AlgorithmConfig(estimator="grpo", minibatches=2, accumulate=2, kl_in="loss", kl_estimator="k3", kl_coef=0.1)
ADAM = optax.adam(1e-3)


def whole(spec: StepSpec, state: RlState, mesh: Mesh) -> Any:
    return compile_step(make_rl_step(spec), state, mesh)


def begin(config: AlgorithmConfig, mesh: Mesh) -> tuple[StepSpec, RlState, RolloutBatch]:
    group = {"group_size": 4} if config.estimator == "grpo" else {}
    spec, devices = spec_of(ADAM, config, **group), batch_devices(mesh)
    layout = Layout(4, epochs=config.epochs, minibatches=config.minibatches, devices=devices, tokens=128)
    rollout = random_rollout(rows=32, layout=layout)
    assert rollout.rows.branches is not None
    state = start_state(initial(config, ADAM), shard_tree(init_params(TINY, jax.random.key(7)), mesh), mesh)
    return spec, state, make_global_array(rollout, batch_sharding(mesh))


def two_steps(config: AlgorithmConfig, mesh: Mesh, compiled: Any = whole) -> tuple[RlState, dict[str, Any]]:
    """The state after two steps on the same rollout, and what the second told."""
    with jax.set_mesh(mesh):
        spec, state, rollout = begin(config, mesh)
        step = compiled(spec, state, mesh)
        for _ in range(2):
            before, (state, metrics) = state, step(state, rollout)
            assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, before)
            jax.block_until_ready(state)
            assert {leaf.is_deleted() for leaf in jax.tree.leaves((before.trainable, before.opt_state))} == {True}
            assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((before.frozen, rollout)))
        return jax.device_get(state), jax.device_get(metrics)


@pytest.mark.parametrize("config", [PPO, GRPO], ids=["ppo", "grpo"])
def test_two_programs_are_the_step(config: AlgorithmConfig) -> None:
    """On eight devices, and PPO's whole step on one. To rounding: XLA adds up in another order what it compiles beside
    something else."""
    spread = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    one = jax.make_mesh((1, 1, 1), MESH_AXES, devices=jax.devices()[:1], axis_types=(AxisType.Auto,) * 3)
    expected, told = two_steps(config, one if config is PPO else spread)
    state, metrics = two_steps(config, spread, CompiledRlStep)
    assert_trees_close(state.trainable, expected.trainable, rtol=1e-4 if config is PPO else 1e-5)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    assert metrics.keys() == told.keys()
    for name, value in told.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(("updates", "programs"), [(2, 2), (1, 1)])
def test_each_size_is_compiled_once_and_lack_of_memory_told_before(
    monkeypatch: pytest.MonkeyPatch, updates: int, programs: int
) -> None:
    """The only update of a rollout that is read in one part scores it, too."""
    monkeypatch.setattr(memory, "available", lambda devices: 1000)
    compilations, told = list[str](), list[str]()
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compilations.append(event) if event.endswith("backend_compile_duration") else None
    )
    mesh = make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        spec, state, rollout = begin(GRPO.model_copy(update={"minibatches": updates}), mesh)
        step = CompiledRlStep(spec, state, mesh, told.append)
        counts = []
        for _ in range(2):
            before = len(compilations)
            state, _ = jax.block_until_ready(step(state, rollout))
            counts.append(len(compilations) - before)
    assert counts == [programs, 0]
    assert [text.startswith("warning: a step needs 0.00 GiB") for text in told] == [True]


def test_scoring_is_apart_where_something_is_read_for_it_alone() -> None:
    def apart(updates: int, parts: int, **options: Any) -> bool:
        return scores_apart(spec_of(ADAM, AlgorithmConfig(**options)), updates, parts)

    free = {"estimator": "grpo", "kl_coef": 0.0}
    assert apart(2, 1)
    assert apart(1, 2)
    assert not apart(1, 1)
    assert not apart(1, 2, **free)
    assert apart(2, 1, minibatches=2, **free)
    assert apart(1, 1, **free, old_log_probs="recompute")


def test_what_lies_there_unread_is_needed_too() -> None:
    numbers = jax.numpy.ones((2, 1000))
    compiled = jax.jit(lambda x, y: x * 2).lower(*numbers).compile()
    assert memory.needed(compiled) == pytest.approx(2 * 4000, abs=1000)
    assert memory.needed(compiled, tuple(numbers)) == pytest.approx(3 * 4000, abs=1000)
