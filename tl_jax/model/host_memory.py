"""Arrays that lie in the host's memory, and how a compiled program fetches them.

Their places alone say which these are (`in_host_memory`). Inside a program an array knows where it lies, and what
computes with it calls `on_device` first, which does nothing for those that are there.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
from jax.sharding import NamedSharding

from tl_jax.config import ConfigError

HOST = "pinned_host"
"""What JAX calls the host's memory that devices read by themselves."""

Tree = TypeVar("Tree")


def in_host_memory(place: NamedSharding) -> NamedSharding:
    """The same place, but in the memory of each device's host.

    Raises:
        ConfigError: these devices cannot read their host's memory.
    """
    try:
        host = place.with_memory_kind(HOST)
    except ValueError:
        kind = place.mesh.devices.flat[0].device_kind
        raise ConfigError(f"model.offload: {kind} has no memory of the kind {HOST}; leave it out") from None
    # Devices that are only compiled for may have no memories, so that a sharding of theirs forgets which is meant.
    return host if host.memory_kind == HOST else _PlannedInHostMemory(place.mesh, place.spec)


def is_in_host_memory(leaf: Any) -> bool:
    """Whether an array lies there: one inside of a program, or a placed one or its shape."""
    if isinstance(leaf, jax.core.Tracer):
        return bool(jax.typeof(leaf).memory_space == jax.memory.Space.Host)
    return getattr(leaf.sharding, "memory_kind", None) == HOST


def on_device(tree: Tree) -> Tree:
    """What lies in the host's memory, copied to the devices; everything else as it is."""
    return jax.tree.map(_fetched, tree)


def to_host(leaf: jax.Array) -> jax.Array:
    """The copy in the host's memory, inside of a program."""
    moved: jax.Array = jax.device_put(leaf, jax.memory.Space.Host)
    return moved


def given_at(place: Any) -> Any:
    """The place of what a program gives, as `jax.jit` takes it: for devices that are only compiled for it follows from
    how the program made it."""
    return NamedSharding(place.mesh, place.spec) if isinstance(place, _PlannedInHostMemory) else place


def _fetched(leaf: Any) -> Any:
    if not is_in_host_memory(leaf):
        return leaf
    traced = isinstance(leaf, jax.core.Tracer)
    return jax.device_put(leaf, jax.memory.Space.Device if traced else leaf.sharding.with_memory_kind("device"))


class _PlannedInHostMemory(NamedSharding):
    """A place whose devices are not there and do not say which memories they would have."""

    @property
    def memory_kind(self) -> str:
        return HOST

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PlannedInHostMemory) and bool(super().__eq__(other))

    def __hash__(self) -> int:
        return hash((super().__hash__(), HOST))
