"""Matrices in 8 or 4 bits beside trained adapters (QLoRA, https://arxiv.org/abs/2305.14314).

``layers.q`` then holds codes, and ``layers.q_scale`` the largest size of every 64 values along the axis ``embed``:
int8 codes are 127ths of it; two NF4 codes, quantiles of a normal distribution, share a byte. A product makes the matrix
anew, one layer at a time: the whole stack is never there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tl_jax.config.lora import Quantized
from tl_jax.model import operations
from tl_jax.model.parameters import Parameter, Params

SCALE = "_scale"
BLOCK = 64
"""Values with one scale, or fewer where the axis ``embed`` does not divide."""
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The values of the codes 0 to 15: appendix E of the paper."""


def scale_of(matrix: Parameter) -> Parameter:
    """The record of a matrix's scales, which are few enough to be whole on every device along ``embed``."""
    axes = tuple("blocks" if axis == "embed" else axis for axis in matrix.axes)
    return replace(matrix, path=matrix.path + SCALE, axes=axes, hf_name="", hf_axes=(), matrix=False, casts=False)


def quantize_params(params: Params, matrices: Sequence[Parameter], kind: Quantized) -> Params:
    """The tree with codes and scales in place of ``matrices``, a layer at a time."""
    leaves = flatten_dict(params, sep=".")
    for matrix in matrices:
        axis = matrix.axes.index("embed") - 1  # within a layer
        codes, scale = jax.lax.map(partial(quantize, kind=kind, axis=axis), leaves[matrix.path])
        leaves[matrix.path], leaves[matrix.path + SCALE] = codes, scale
    return unflatten_dict(leaves, sep=".")


def quantize(matrix: jax.Array, kind: Quantized, axis: int) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of a matrix, its blocks along ``axis``.

    Returns:
        int8 of the same shape, or uint8 with half the length of ``axis``; and bfloat16 with one for each block.
    """
    wide = jnp.moveaxis(matrix.astype(jnp.float32), axis, -1)
    blocks = wide.reshape(*wide.shape[:-1], -1, math.gcd(BLOCK, wide.shape[-1]))
    largest = jnp.max(jnp.abs(blocks), axis=-1)
    scale = largest.astype(jnp.bfloat16)
    unit = blocks / jnp.where(scale == 0, 1, scale.astype(jnp.float32))[..., None]
    if kind == "int8":
        codes = jnp.clip(jnp.round(unit * 127), -127, 127).astype(jnp.int8).reshape(wide.shape)
    else:
        borders = jnp.asarray([(low + high) / 2 for low, high in pairwise(NF4)], jnp.float32)
        nearest = jnp.searchsorted(borders, unit.reshape(wide.shape), method="compare_all").astype(jnp.uint8)
        codes = nearest[..., ::2] | nearest[..., 1::2] << 4
    return jnp.moveaxis(codes, -1, axis), jnp.moveaxis(scale, -1, axis)


def dequantize(codes: jax.Array, scale: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """The matrix that `quantize` has made these of, as nearly as it can be had."""
    axis = next(i for i, (many, few) in enumerate(zip(codes.shape, scale.shape, strict=True)) if many != few)
    last = jnp.moveaxis(codes, axis, -1)
    if codes.dtype == jnp.int8:
        unit = last.astype(jnp.float32) / 127
    else:
        pairs = jnp.stack([last & 15, last >> 4], axis=-1)
        unit = _values(pairs).reshape(*last.shape[:-1], -1)
    few = jnp.moveaxis(scale, axis, -1).astype(jnp.float32)
    blocks = unit.reshape(*few.shape, -1) * few[..., None]
    return jnp.moveaxis(blocks.reshape(unit.shape).astype(dtype), -1, axis)


def _values(codes: jax.Array) -> jax.Array:
    """What NF4 codes stand for: chosen bit by bit, since looking 16 values up is slow on a TPU."""
    values = [jnp.float32(value) for value in NF4]
    for bit in range(4):
        upper = (codes >> bit) & 1 == 1
        values = [jnp.where(upper, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def product(equation: str, x: jax.Array, weights: Params, name: str) -> jax.Array:
    """``x`` times the matrix ``name``, whose dtype does not matter, in that of ``x``."""
    if name + SCALE not in weights:
        return operations.product(equation, x, weights[name].astype(x.dtype))

    # Where activations are kept for the backward pass, the matrix is not: it is made once more.
    @jax.checkpoint
    def of_codes(x: jax.Array, codes: jax.Array, scale: jax.Array) -> jax.Array:
        return operations.einsum(equation, x, dequantize(codes, scale, x.dtype))

    return of_codes(x, weights[name], weights[name + SCALE])
