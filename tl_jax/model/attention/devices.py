"""Kernels on each device of the mesh that a program is traced for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
from jax._src.mesh import get_concrete_mesh  # jax.sharding.get_mesh refuses to answer while a program is traced

from tl_jax.model.attention.mask import AttentionMask
from tl_jax.model.sharding import divides, partition_spec

Attention: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array, AttentionMask], jax.Array]


def compute_capability() -> tuple[int, ...]:
    """Of the mesh's NVIDIA GPUs: (9, 0) is Hopper's. Nothing where there are none."""
    mesh = get_concrete_mesh()
    device = jax.devices()[0] if mesh.empty else mesh.devices.flat[0]
    said = getattr(device, "compute_capability", "")
    return tuple(int(part) for part in said.split(".")) if said else ()


def on_each_device(
    attend: Attention, query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask
) -> jax.Array:
    """``attend`` on each device's own rows and heads, where they divide over the mesh. See `attention`."""
    if jax.sharding.get_abstract_mesh().empty or not fits_mesh(query, key):
        return attend(query, key, value, mask)
    queries, keys = (partition_spec("batch", None, heads, None) for heads in ("heads", "kv_heads"))
    spread = jax.shard_map(
        attend, in_specs=(queries, keys, keys, partition_spec("batch")), out_specs=queries, check_vma=False
    )
    return spread(query, key, value, mask)


def fits_mesh(query: jax.Array, key: jax.Array) -> bool:
    """Whether rows and heads divide over the devices of the mesh."""
    queries, keys = (("batch", None, heads, None) for heads in ("heads", "kv_heads"))
    return divides(query.shape, *queries) and divides(key.shape, *keys)
