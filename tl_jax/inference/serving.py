"""Weights as answers are written with them: compute copies, cut so that no device needs another's.

Training spreads matrices over ``fsdp`` and gathers each where it is used. Decoding uses all of them for every token, so
they are laid out anew, once for all answers: heads, feed-forward and vocabulary over what was ``fsdp`` and ``tensor``.
Devices then send each other activations and never weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tl_jax.config.engine import KvCacheDtype
from tl_jax.model import joined
from tl_jax.model.cache import CacheLayout, stacks_of
from tl_jax.model.config import LlamaConfig
from tl_jax.model.kv_dtype import dtype_of
from tl_jax.model.llama import GraphDef, Llama, merge, split
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.sharding import (
    MESH_AXES,
    batch_devices,
    batch_sharding,
    make_global_array,
    param_shardings,
    replicated,
)

Tree = TypeVar("Tree")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that answers; from `for_generation`."""

    graphdef: GraphDef
    """of a `Llama` without layers"""
    params: Params
    """its parameters: embedding, norm, projection"""
    stacks: tuple[Params, ...]
    """the parameters of the layers, a loop each, as `Llama.decode` wants them"""
    layout: CacheLayout
    """of its cache"""
    dtype: Any
    """of the computation"""
    mesh: Mesh | None = field(default=None)
    """devices that the rows of a batch (``data``) and the matrices (``tensor``) are spread over"""

    @property
    def config(self) -> LlamaConfig:
        """Sizes and constants."""
        return self.layout.config

    @property
    def devices(self) -> Sequence[jax.Device]:
        """Those of this process."""
        return jax.devices()[:1] if self.mesh is None else self.mesh.local_devices

    @property
    def spread(self) -> int:
        """Over how many devices rows are spread."""
        return 1 if self.mesh is None else batch_devices(self.mesh)

    def everywhere(self, tree: Tree) -> Tree:
        """Arrays of the host on all devices of the mesh, where there is one."""
        return tree if self.mesh is None else make_global_array(tree, replicated(self.mesh))

    def by_rows(self, tree: Tree) -> Tree:
        """Arrays of the host, the rows of which are spread."""
        return tree if self.mesh is None else make_global_array(tree, batch_sharding(self.mesh))


def for_generation(
    graphdef: GraphDef, params: Params, mesh: Mesh | None = None, kv_cache_dtype: KvCacheDtype = "auto"
) -> ServedModel:
    """A model's weights for any number of answers; made once for a rollout, not for every batch or turn.

    Args:
        graphdef: of a `Llama`, from `split` or `make_graphdef`.
        params: its parameters, adapters included; with ``mesh``, placed on it. They stay as they are.
        mesh: that of training. The answers use the same devices as `serving_mesh` has them.
        kv_cache_dtype: of keys and values.
    """
    served = abstract_served(graphdef, params, mesh, kv_cache_dtype)
    top, stacks = _program(served)(params)
    return replace(served, params=top, stacks=stacks)


def lower_for_generation(graphdef: GraphDef, params: Params, mesh: Mesh) -> jax.stages.Lowered:
    """The program of `for_generation`, to be compiled and looked at but not run."""
    lowered: jax.stages.Lowered = _program(abstract_served(graphdef, params, mesh)).lower(params)
    return lowered


def abstract_served(
    graphdef: GraphDef, params: Params, mesh: Mesh | None, kv_cache_dtype: KvCacheDtype = "auto"
) -> ServedModel:
    """The shapes and places of `for_generation`, of arrays or shapes; nothing is computed."""
    leaves, structure = jax.tree.flatten(params)
    shapes = (jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for leaf in leaves)
    return _of_shapes(graphdef, structure, tuple(shapes), mesh, kv_cache_dtype)


@lru_cache(maxsize=32)
def _of_shapes(
    graphdef: GraphDef,
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    mesh: Mesh | None,
    kv_cache_dtype: KvCacheDtype,
) -> ServedModel:
    """`abstract_served`, once for each model, however often that is served."""
    params = jax.tree.unflatten(structure, shapes)
    model: Llama = merge(graphdef, params)
    dtype, there = compute_dtype(graphdef, params), None if mesh is None else serving_mesh(mesh, model.config)
    join = _joins(there, dtype)
    top, stacks = jax.eval_shape(lambda params: _stacks(params, dtype, model.loops.decode, join), params)
    if there is not None:
        places = param_shardings(params, there, uneven="whole")
        top = _placed(top, {name: places[name] for name in top})
        of_layers = dict.fromkeys(joined.PARTS, replicated(there)) | places["layers"]
        stacks = tuple(_placed(stack, {name: of_layers[name] for name in stack}) for stack in stacks)
    bare = Llama(
        model.config,
        {**top, "layers": {}},
        dtype=model.dtype,
        attention=model.attention,
        lora=model.lora,
    )
    layout = CacheLayout(model.config, dtype_of(kv_cache_dtype, dtype), model.loops.decode)
    return ServedModel(split(bare)[0], top, stacks, layout, dtype, there)


def serving_mesh(mesh: Mesh, model: LlamaConfig) -> Mesh:
    """The same devices, in the same order, with those of ``fsdp`` in ``tensor``, as far as heads divide over them.

    What is left holds whole copies and takes rows, as ``data`` does. So does each host with GPUs: the network between
    them is too slow to wait for in every layer.

    Args:
        mesh: that of training.
        model: whose heads are shared out.
    """
    heads = math.gcd(model.num_heads, model.num_kv_heads, mesh.shape["fsdp"] * mesh.shape["tensor"])
    rows = mesh.devices.reshape(-1, heads)
    while heads > mesh.shape["tensor"] and not all(_near(group) for group in rows):
        heads = next(size for size in range(heads - 1, 0, -1) if heads % size == 0)
        rows = mesh.devices.reshape(-1, heads)
    return Mesh(rows[:, None, :], MESH_AXES, axis_types=mesh.axis_types)


def _near(devices: np.ndarray) -> bool:
    """Whether they are of one TPU slice, or of one host with GPUs."""
    return len({getattr(device, "slice_index", 0) for device in devices}) == 1


def _joins(mesh: Mesh | None, dtype: Any) -> bool:
    """Whether matrices are joined: on a processor that is one device, in float32. Nothing else gains by it."""
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    return device.platform == "cpu" and (mesh is None or mesh.size == 1) and dtype == jnp.float32


def _stacks(params: Params, dtype: Any, loop: int, join: bool) -> tuple[Params, tuple[Params, ...]]:
    copies = in_compute_dtype(params, dtype)
    all_layers = copies["layers"]
    groups = stacks_of(len(next(iter(all_layers.values()))), loop)
    cut = ({name: leaf[own.start : own.stop] for name, leaf in all_layers.items()} for own in groups)
    stacks = tuple(joined.join(own) if join else own for own in cut)
    return {name: leaf for name, leaf in copies.items() if name != "layers"}, stacks


def _program(served: ServedModel) -> Any:
    """What makes it of its parameters."""
    places = None if served.mesh is None else jax.tree.map(lambda x: x.sharding, (served.params, served.stacks))
    leaves, structure = jax.tree.flatten(places)
    join = _joins(served.mesh, served.dtype)
    return _laid_out(served.dtype, served.layout.loop, join, tuple(leaves), structure)


@lru_cache(maxsize=32)
def _laid_out(dtype: Any, loop: int, join: bool, places: tuple[NamedSharding, ...], structure: Any) -> Any:
    """`_stacks`, compiled for where its results lie; once for each model, however often that is served."""
    shardings = jax.tree.unflatten(structure, places)
    return jax.jit(lambda params: _stacks(params, dtype, loop, join), out_shardings=shardings)


def _placed(shapes: Any, places: Any) -> Any:
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, places
    )
