"""Which device holds what: one table from logical axes to mesh axes.

The mesh has the axes ``data`` (whole copies of the model), ``fsdp`` (parameters and optimizer state cut up, gathered
where they are used) and ``tensor`` (heads, feed-forward and vocabulary cut up). Rows of a batch are spread over
``data`` and ``fsdp``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tl_jax.config import ConfigError, MeshConfig
from tl_jax.model.families import parameter_of

MESH_AXES = ("data", "fsdp", "tensor")

RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "layers": None,
    "norm": None,
    "embed": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head_dim": None,
    "mlp": "tensor",
    "lora_rank": None,
    "blocks": None,
}
"""Logical axis -> mesh axis or axes; None = not cut."""

Tree = TypeVar("Tree")


class ShardingError(ValueError):
    """Something that has no place on the mesh; the message names the parameter."""


def make_mesh(config: MeshConfig, on: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes as a mesh ``data x fsdp x tensor``; the axis given as -1 takes what is left.

    Of several TPU slices each holds whole copies of the model: the slow network between them carries gradients only.
    ``on`` names other devices, such as those of a machine that is only planned for.

    Raises:
        ConfigError: the sizes do not multiply to the number of devices, or ``data`` does not to that of the slices.
    """
    devices = jax.devices() if on is None else on
    shape = [getattr(config, axis) for axis in MESH_AXES]
    asked = ", ".join(f"{axis}={size}" for axis, size in zip(MESH_AXES, shape, strict=True))
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ConfigError(f"mesh: {asked}: sizes are positive, and at most one of them is -1")
    known = math.prod(size for size in shape if size != -1)
    shape = [len(devices) // known if size == -1 else size for size in shape]
    if math.prod(shape) != len(devices):
        raise ConfigError(f"mesh: {asked} does not fit {len(devices)} devices; the product must be {len(devices)}")
    kinds = (AxisType.Auto,) * len(MESH_AXES)
    slices = count_slices(devices)
    if slices == 1:
        return jax.make_mesh(tuple(shape), MESH_AXES, axis_types=kinds, devices=on)
    copies, left = divmod(shape[0], slices)
    if left:
        raise ConfigError(
            f"mesh: {asked} does not fit {slices} slices: mesh.data has to be a multiple of {slices}, with whole "
            f"copies of the model in each; for instance mesh.data={slices}"
        )
    placed = create_hybrid_device_mesh([copies, *shape[1:]], [slices, 1, 1], devices)
    return Mesh(placed, MESH_AXES, axis_types=kinds)


def count_slices(devices: Sequence[jax.Device]) -> int:
    """How many TPU slices they are of. Elsewhere 1: hosts with GPUs have ``slice_index``, too, but a network that
    carries ``fsdp``."""
    return len({getattr(device, "slice_index", 0) for device in devices if device.platform == "tpu"}) or 1


def partition_spec(*axes: str | None) -> PartitionSpec:
    """The table applied to an array's logical axes; None = not cut.

    Raises:
        ShardingError: two of them would be cut along the same mesh axis.
    """
    entries = [None if axis is None else RULES[axis] for axis in axes]
    used = [name for entry in entries if entry for name in ((entry,) if isinstance(entry, str) else entry)]
    if len(set(used)) != len(used):
        raise ShardingError(f"logical axes {axes} use a mesh axis twice: {entries}")
    return PartitionSpec(*entries)


def param_shardings(tree: Tree, mesh: Mesh, uneven: Literal["error", "whole"] = "error") -> Tree:
    """The same tree with the `NamedSharding` of every leaf (arrays or ``ShapeDtypeStruct``).

    A leaf is a parameter, or its moment in an optimizer state, by the end of its path, see `parameter_of`. Scalars are
    replicated, and an axis of length 1 (a factored moment has such) is not cut; with ``uneven="whole"``, nor is one
    that does not divide by its mesh axis.

    Raises:
        ShardingError: a path that no parameter has, or a dimension that does not divide by its mesh axis.
    """

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, _leaf_spec(path, leaf.shape, mesh, uneven) if leaf.shape else PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, tree)


def _leaf_spec(path: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh, uneven: str) -> PartitionSpec:
    try:
        parameter = parameter_of(path, len(shape))
    except LookupError as error:
        raise ShardingError(str(error)) from None
    where = jax.tree_util.keystr(path, simple=True, separator=".")
    if len(parameter.axes) != len(shape):
        raise ShardingError(f"parameter {where}: shape {list(shape)} does not fit the axes {parameter.axes}")
    spec = partition_spec(*(None if size == 1 else axis for axis, size in zip(parameter.axes, shape, strict=True)))
    if uneven == "whole":
        return PartitionSpec(
            *(None if cut and size % mesh.shape[cut] else cut for size, cut in zip(shape, spec, strict=True))
        )
    for axis, size, mesh_axis in zip(parameter.axes, shape, spec, strict=True):
        if mesh_axis is not None and size % mesh.shape[mesh_axis]:
            raise ShardingError(
                f"parameter {where}: {axis} has length {size}, which does not divide over the "
                f"{mesh.shape[mesh_axis]} devices of mesh axis {mesh_axis!r}; "
                f"choose mesh.{mesh_axis} to be a divisor of {size}"
            )
    return spec


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over ``data`` and ``fsdp``, for arrays ``[B, ...]``."""
    return NamedSharding(mesh, partition_spec("batch"))


def own_rows(mesh: Mesh, rows: int) -> frozenset[int]:
    """Which rows of a batch of ``rows`` lie on devices of this process."""
    found = batch_sharding(mesh).addressable_devices_indices_map((rows,)).values()
    return frozenset(row for (part,) in filter(None, found) for row in range(rows)[part])


def batch_devices(mesh: Mesh) -> int:
    """Over how many devices rows are spread."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def shard_tree(tree: Tree, mesh: Mesh) -> Tree:
    """Parameters, an optimizer state, or anything made of them, put where the table says."""
    return jax.device_put(tree, param_shardings(tree, mesh))


def make_global_array(tree: Tree, sharding: NamedSharding) -> Tree:
    """Global arrays from a tree of NumPy arrays; each process takes its own part, and no other has to be right."""

    def put(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def divides(shape: tuple[int, ...], *axes: str | None) -> bool:
    """Whether an array of these logical axes can be cut evenly over the mesh of ``jax.set_mesh``."""
    mesh = jax.sharding.get_abstract_mesh()
    names = ((entry,) if isinstance(entry, str) else entry or () for entry in partition_spec(*axes))
    return mesh.empty or not any(
        size % math.prod(mesh.shape[name] for name in cut) for size, cut in zip(shape, names, strict=True)
    )


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Holds an activation to its logical axes on the mesh of ``jax.set_mesh``; without one, ``x`` as it is.

    Without this the compiler may move activations between devices instead of parameters.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(*axes))
