"""Matrices that ``fsdp`` cuts along D, whole where a TPU multiplies many tokens with them.

Left to itself, XLA's compiler for TPUs multiplies with one device's part of a matrix while the next comes from a
neighbour. That hides the transfer, which is as long for few tokens as for many; what it costs grows with the tokens:
sums of all parts go through memory, rounded to the activations' dtype each time. And each product is several kernels to
compile.
"""

from __future__ import annotations

import jax
from jax.sharding import AxisType, PartitionSpec

from tl_jax.model.platform import platform


def whole(letters: str, matrix: jax.Array, x: jax.Array) -> jax.Array:
    """``matrix`` as it is to be multiplied with ``x`` [B, T, ...]; ``letters`` are its axes, one of them ``d``."""
    return _cut(matrix, letters, None) if _pays(letters, matrix, x) else matrix


def summed(letters: str, gradient: jax.Array, x: jax.Array) -> jax.Array:
    """The ``gradient`` of such a matrix, multiplied with all tokens before devices add up theirs.

    Over ``data`` each part is added up by itself: whole gradients would go through the network between slices.
    """
    if not _pays(letters, gradient, x) or jax.sharding.get_abstract_mesh().shape["data"] > 1:
        return gradient
    from tl_jax.model.sharding import RULES  # whose parameters' records know of what multiplies

    return _cut(_cut(gradient, letters, None), letters, RULES["embed"])


def _pays(letters: str, matrix: jax.Array, x: jax.Array) -> bool:
    """A device has D tokens or more, so that what they sum up to is no smaller than the matrix."""
    mesh = jax.sharding.get_abstract_mesh()
    if platform() != "tpu" or mesh.shape.get("fsdp", 1) == 1 or "d" not in letters or x.ndim < 3:
        return False
    if any(kind != AxisType.Auto for kind in mesh.axis_types):  # somebody says himself where arrays lie
        return False
    tokens, width = x.shape[0] * x.shape[1], matrix.shape[letters.index("d")]
    return tokens >= width * mesh.shape["data"] * mesh.shape["fsdp"]


def _cut(matrix: jax.Array, letters: str, along: str | tuple[str, ...] | None) -> jax.Array:
    """With its axis D over those of the mesh, the others as they are."""
    free = PartitionSpec.UNCONSTRAINED
    return jax.lax.with_sharding_constraint(
        matrix, PartitionSpec(*(along if axis == "d" else free for axis in letters))
    )
