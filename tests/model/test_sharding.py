"""The sharding table: every parameter has a place, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from pydantic import ValidationError

from tests.model.tiny import random_params
from tl_jax.config import ConfigError, MeshConfig
from tl_jax.model.config import LlamaConfig
from tl_jax.model.families import FAMILIES
from tl_jax.model.lora import adaptable, adapter_of
from tl_jax.model.parameters import PARAMETERS, abstract_params, init_params
from tl_jax.model.quantize import scale_of
from tl_jax.model.sharding import (
    RULES,
    ShardingError,
    batch_sharding,
    count_slices,
    divides,
    make_global_array,
    make_mesh,
    param_shardings,
    partition_spec,
    replicated,
    shard_tree,
)
from tl_jax.model.value import value_params

CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    architecture="qwen2",
)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({}, (1, 8, 1)),
        ({"data": -1, "fsdp": 2}, (4, 2, 1)),
        ({"data": 2, "fsdp": 2, "tensor": -1}, (2, 2, 2)),
        ({"data": 8, "fsdp": 1}, (8, 1, 1)),
        ({"data": 8}, (8, 1, 1)),
    ],
)
def test_mesh_sizes(asked: dict[str, int], got: tuple[int, ...]) -> None:
    mesh = make_mesh(MeshConfig(**asked))
    assert mesh.devices.shape == got
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    "asked", [{"data": 3}, {"data": 2, "fsdp": 2}, {"data": 16}, {"data": -1, "fsdp": -1}, {"data": 0}]
)
def test_a_mesh_that_does_not_fit_names_the_sizes(asked: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(asked))}={next(iter(asked.values()))}"):
        make_mesh(MeshConfig(**asked))


@dataclass(frozen=True)
class FakeTpu:
    """What JAX looks at when it places a TPU chip: v5e slices of 2 x 2 chips."""

    id: int
    device_kind = "TPU v5 lite"
    platform = "tpu"
    core_on_chip = 0

    @property
    def slice_index(self) -> int:
        return self.id % 2  # not in the order of the ids

    @property
    def coords(self) -> tuple[int, int, int]:
        return (self.id // 2 % 2, self.id // 4, 0)

    @property
    def process_index(self) -> int:
        return self.slice_index


@pytest.mark.parametrize(
    ("asked", "got"), [({"data": 2}, (2, 4, 1)), ({"data": -1, "fsdp": 1, "tensor": 2}, (4, 1, 2))]
)
def test_a_copy_of_the_model_lies_within_a_slice(asked: dict[str, int], got: tuple[int, ...]) -> None:
    chips: Any = [FakeTpu(number) for number in range(8)]
    mesh = make_mesh(MeshConfig(**asked), chips)
    assert (mesh.devices.shape, mesh.axis_names) == (got, ("data", "fsdp", "tensor"))
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert {chip.id for chip in mesh.devices.flat} == set(range(8))
    for copies, slice_index in zip(np.split(mesh.devices, 2), (0, 1), strict=True):  # next to each other along data
        assert {chip.slice_index for chip in copies.flat} == {slice_index}


def test_a_copy_over_several_slices_is_refused() -> None:
    chips: Any = [FakeTpu(number) for number in range(8)]
    with pytest.raises(ConfigError, match=r"data=1, fsdp=-1.* 2 slices: .*mesh\.data=2"):
        make_mesh(MeshConfig(), chips)


def test_only_tpus_have_slices() -> None:
    """Each host with GPUs has a `slice_index` of its own, and parameters are cut over hosts nevertheless."""
    assert count_slices([cast("jax.Device", FakeTpu(number)) for number in range(4)]) == 2
    host = SimpleNamespace(platform="gpu", slice_index=1)
    assert count_slices([*jax.devices(), cast("jax.Device", host)]) == 1


def test_a_size_below_what_is_left_is_no_size() -> None:
    with pytest.raises(ValidationError, match=r"tensor\n.*between -1 and"):
        MeshConfig(tensor=-2)


def test_every_parameter_uses_a_mesh_axis_once_and_every_rule_is_used() -> None:
    own = [parameter for family in FAMILIES.values() for parameter in family.parameters]
    matrices = adaptable(CONFIG)
    added = [record for matrix in matrices for record in (*adapter_of(matrix), scale_of(matrix))]
    parameters = [*PARAMETERS.values(), *own, *added]
    specs = {parameter.path: partition_spec(*parameter.axes) for parameter in parameters}
    assert specs["layers.q"] == P(None, "fsdp", "tensor", None)
    assert specs["embed.embedding"] == P("tensor", "fsdp")
    assert {axis for parameter in parameters for axis in parameter.axes} | {"batch"} == set(RULES)
    with pytest.raises(ShardingError, match="twice"):
        partition_spec("embed", "batch")


def leaves_with_places(tree: object, mesh: Mesh) -> Iterator[tuple[str, P]]:
    for path, sharding in jax.tree_util.tree_leaves_with_path(param_shardings(tree, mesh)):
        yield jax.tree_util.keystr(path), sharding.spec


def test_optimizer_states_follow_their_parameters(mesh: Mesh) -> None:
    params = abstract_params(CONFIG)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.linear_schedule(0, 1, 5), mask=jax.tree.map(lambda x: x.ndim > 2, params)),
    )
    state = jax.eval_shape(lambda: {"params": init_params(CONFIG, jax.random.key(0)), "key": jax.random.key(1)})
    state["optimizer"] = jax.eval_shape(optimizer.init, params)
    places = dict(leaves_with_places(state, mesh))
    moments = {path: spec for path, spec in places.items() if path.endswith("['layers']['down']")}
    assert len(moments) == 3  # the parameter, its first and its second moment
    assert set(moments.values()) == {P(None, "tensor", "fsdp")}
    assert {spec for path, spec in places.items() if "count" in path or "key" in path} == {P()}


def test_critic_parameters_have_places(mesh: Mesh) -> None:
    places = dict(leaves_with_places(jax.eval_shape(value_params, abstract_params(CONFIG)), mesh))
    assert places["['backbone']['layers']['k_bias']"] == P(None, "tensor", None)
    assert places["['value_head']"] == P(None)


def test_what_has_no_rule_is_an_error(mesh: Mesh) -> None:
    for name in ("adapter", "q", "embedding"):  # only whole paths count
        with pytest.raises(ShardingError, match=f"extra.{name}"):
            param_shardings({"extra": {name: jnp.zeros((4, 4))}}, mesh)
    with pytest.raises(ShardingError, match=r"layers\.q: shape \[4, 4\]"):
        param_shardings({"layers": {"q": jnp.zeros((4, 4))}}, mesh)


def test_a_length_that_does_not_divide_is_named() -> None:
    mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=4))
    with pytest.raises(ShardingError, match=r"layers\.k: kv_heads has length 2.* 4 devices of mesh axis 'tensor'"):
        param_shardings(abstract_params(CONFIG), mesh)


def test_what_divides_over_a_mesh() -> None:
    assert divides((3, 5), "batch", "heads")  # without one, everything
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
        assert divides((8, 5, 4), "batch", None, "heads")
        assert not divides((6, 5, 4), "batch", None, "heads")
        assert not divides((8, 5, 3), "batch", None, "heads")


def test_values_survive_and_are_cut(mesh: Mesh) -> None:
    params = random_params(CONFIG)
    placed = shard_tree(params, mesh)
    jax.tree.map(np.testing.assert_array_equal, placed, params)
    q = placed["layers"]["q"]
    assert q.addressable_shards[0].data.shape == (2, 16, 2, 8)
    assert placed["norm"].sharding.is_fully_replicated


def test_global_arrays(mesh: Mesh) -> None:
    tree = {"tokens": np.arange(32, dtype=np.int32).reshape(8, 4), "turns": np.ones(8, np.float32)}
    placed = make_global_array(tree, batch_sharding(mesh))
    jax.tree.map(np.testing.assert_array_equal, placed, tree)
    assert placed["tokens"].addressable_shards[0].data.shape == (2, 4)  # 4 ways of data x fsdp, tensor holds copies
    assert placed["turns"].dtype == jnp.float32
    assert make_global_array(np.float32(3), replicated(mesh)).sharding.is_fully_replicated
