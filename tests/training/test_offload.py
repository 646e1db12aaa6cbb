"""What lies in the host's memory is computed with as if it lay on the devices."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.thoroughness import first_then_thorough
from tests.training.helpers import TINY, random_batch
from tl_jax.config import ConfigError, MeshConfig, OptimizerConfig, RlConfig, SftConfig, load_config
from tl_jax.config.model import Loops, Offload
from tl_jax.model.host_memory import HOST, in_host_memory, on_device
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, shard_tree
from tl_jax.plugins import Plugin
from tl_jax.training.checkpoint import Checkpoints, Record
from tl_jax.training.compile import abstract_state, compile_step, start_state
from tl_jax.training.losses import weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.state import TrainState, init_state
from tl_jax.training.step import make_train_step


def lion(schedule: optax.Schedule, config: OptimizerConfig) -> optax.GradientTransformation:
    """A user's optimizer, of which nobody knows that layers are nothing to each other."""
    return optax.lion(schedule)


def steps(
    offload: tuple[Offload, ...], optimizer: str = "adamw", remat: Any = "block", scan: bool = True
) -> TrainState:
    """The state after two steps on eight devices."""
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    # Adam divides a gradient by its own size: an eps well above float32 noise keeps tiny gradients comparable.
    options = {"eps": 1e-5} if optimizer == "adamw" else {}
    made, schedule = make_optimizer(OptimizerConfig(name=Plugin(optimizer), learning_rate=1e-3, **options), 2)
    graphdef = make_graphdef(
        TINY, dtype=jnp.float32, remat=remat, loops=Loops(training=scan), offload="activations" in offload
    )
    with jax.set_mesh(mesh):
        params = shard_tree(init_params(TINY, jax.random.key(7)), mesh)
        state = start_state(partial(init_state, optimizer=made, seed=0), params, mesh, offload)
        step = compile_step(make_train_step(graphdef, weighted_cross_entropy, made, schedule, 2), state, mesh)
        for number in range(2):
            state, _ = step(state, make_global_array(random_batch(number, 8, 24), batch_sharding(mesh)))
            jax.block_until_ready(state)
    return state


def assert_same(there: TrainState, here: TrainState) -> None:
    for new, old in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", first_then_thorough(["adamw", "adafactor", "muon", f"{__name__}:lion"]))
def test_moments_lie_there_and_every_optimizer_moves_as_without(optimizer: str) -> None:
    there = steps(("moments",), optimizer)
    assert_same(there, steps((), optimizer))
    moments = [leaf for leaf in jax.tree.leaves(there.opt_state) if leaf.ndim]
    assert {leaf.sharding.memory_kind for leaf in moments} == {HOST}
    assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(there.trainable)} == {"device"}


@pytest.mark.slow
@pytest.mark.parametrize(("remat", "scan"), first_then_thorough([("block", True), ("block", False), ("dots", True)]))
def test_activations_come_back_as_they_went(remat: str, scan: bool) -> None:
    there, here = steps(("activations",), remat=remat, scan=scan), steps((), remat=remat, scan=scan)
    for new, old in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old))


def test_activations_are_named_for_the_policy_and_only_then() -> None:
    """The program copies to the host in the forward pass and back in the backward pass: a layer's input; with
    ``attention`` four products and attention, too; with ``dots`` six. Nothing reads the last product there."""

    def copies(**options: Any) -> int:
        graphdef = make_graphdef(TINY, dtype=jnp.float32, **options)
        made, schedule = make_optimizer(OptimizerConfig(), 1)
        step = make_train_step(graphdef, weighted_cross_entropy, made, schedule)
        state = jax.eval_shape(partial(init_state, optimizer=made, seed=0), init_params(TINY, jax.random.key(0)))
        return str(jax.make_jaxpr(step)(state, random_batch(0, 8, 24))).count("device_put")

    assert copies(offload=True) - copies() == 2
    assert copies(offload=True, remat="attention") - copies(remat="attention") == 2 * (1 + 4 + 1)
    assert copies(offload=True, remat="dots") - copies(remat="dots") == 2 * (1 + 6 + 1)


def test_a_checkpoint_knows_no_places(tmp_path: Path) -> None:
    made, _ = make_optimizer(OptimizerConfig(), 1)
    init, mesh = partial(init_state, optimizer=made, seed=0), make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        state = start_state(init, shard_tree(init_params(TINY, jax.random.key(7)), mesh), mesh, ("moments",))
        saved = Checkpoints(tmp_path / "checkpoints", keep=1)
        saved.save(1, state, Record({}, {}))
        saved.wait()
        for offload, kind in ((("moments",), HOST), ((), "device")):
            target = abstract_state(init, init_params(TINY, jax.random.key(7)), mesh, offload)
            restored = saved.restore(1, target).state
            assert {leaf.sharding.memory_kind for leaf in jax.tree.leaves(restored.opt_state) if leaf.ndim} == {kind}
            jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
        saved.close()


def test_devices_without_such_memory_are_told() -> None:
    place = NamedSharding(make_mesh(MeshConfig()), PartitionSpec())
    with (
        mock.patch.object(NamedSharding, "with_memory_kind", side_effect=ValueError("Could not find memory")),
        pytest.raises(ConfigError, match=r"model.offload: cpu has no memory of the kind pinned_host; leave it out"),
    ):
        in_host_memory(place)


def test_arrays_outside_of_programs_are_fetched_too() -> None:
    place = NamedSharding(make_mesh(MeshConfig()), PartitionSpec("fsdp"))
    there = jax.device_put(jnp.arange(8.0), in_host_memory(place))
    here = on_device({"a": there, "b": jnp.ones(())})
    assert here["a"].sharding == place.with_memory_kind("device")
    assert here["a"].tolist() == list(range(8))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SftConfig, ["model.offload=reference"], "supervised training has none"),
        (RlConfig, ["model.offload=[reference]", "lora.rank=4"], "the model below them, no copy"),
        (RlConfig, ["model.offload=reference", "algorithm.kl_coef=0"], "without a KL .* no reference is kept"),
        (SftConfig, ["model.offload=activations", "model.remat=none"], "use another, such as remat=block"),
        (SftConfig, ["model.offload=gradients"], "reference"),
        (RlConfig, ["lora.rank=4", "lora.dropout=0.1", "algorithm.old_log_probs=sampler"], "the sampler drops nothing"),
    ],
)
def test_what_is_not_there_cannot_be_moved(kind: Any, settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(kind, [], ["run_dir=r", "model.path=m", "data.path=d", *settings])
