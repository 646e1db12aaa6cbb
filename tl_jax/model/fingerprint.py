"""Whether two trees of arrays are the same to the last bit, without keeping both."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.model.host_memory import on_device
from tl_jax.model.stored import StoredArray, pieces


def fingerprint(tree: Any, dtype: jax.typing.DTypeLike | None = None) -> str | None:
    """16 hexadecimal digits that depend on every bit, name, shape and dtype of a tree; None where it has no leaves.

    The same on any number of devices: sums of integers do not depend on their order. Reads the tree once.

    Args:
        tree: of arrays, or of `StoredArray`.
        dtype: that they are looked at in, whatever theirs; None = their own.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves:
        return None
    kinds = [jnp.dtype(dtype or leaf.dtype) for _, leaf in leaves]
    described = [
        (jax.tree_util.keystr(path), str(kind), leaf.shape, total)
        for (path, leaf), kind, total in zip(leaves, kinds, _sums([leaf for _, leaf in leaves], kinds), strict=True)
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def _sums(arrays: list[Any], dtypes: list[np.dtype]) -> list[int]:
    """`_checksum` of each; of those on disk a piece at a time."""
    if isinstance(arrays[0], StoredArray):
        return [_sum_of_parts(array, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]

    @jax.jit
    def checksums(arrays: list[jax.Array]) -> list[jax.Array]:
        return [_checksum(on_device(array), dtype) for array, dtype in zip(arrays, dtypes, strict=True)]

    return list(map(int, jax.device_get(checksums(arrays))))


def _sum_of_parts(array: StoredArray, dtype: np.dtype) -> int:
    """`_checksum` of an array on disk."""
    total = 0
    for start, part in array.parts():
        total += sum(int(_one(piece, dtype=dtype, first=start + first)) for first, piece in pieces(part))
        del part  # before the next is read
    return total % 2**32


def _checksum(array: jax.Array, dtype: np.dtype, first: int = 0) -> jax.Array:
    """uint32 scalar: the sum of all elements' bits, each mixed with where it stands.

    Args:
        array: one, or part of one along its first axis.
        dtype: that the bits are of.
        first: where the part begins.
    """
    array = array.astype(dtype)
    bits = jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * array.dtype.itemsize}")).astype(jnp.uint32)
    index = jnp.zeros(array.shape, jnp.uint32)
    for axis in range(array.ndim):
        stride = math.prod(array.shape[axis + 1 :]) % 2**32
        start = jnp.uint32(first if axis == 0 else 0)
        index += (start + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)) * jnp.uint32(stride)
    # The finaliser of MurmurHash3, https://github.com/aappleby/smhasher (public domain): every input bit reaches all.
    mixed = bits ^ (index * jnp.uint32(0x9E3779B1))
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    return jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)


_one = jax.jit(_checksum, static_argnames="dtype")
