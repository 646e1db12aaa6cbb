"""Rotary position embeddings (https://arxiv.org/abs/2104.09864) and their scaling for longer contexts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.model.config import LlamaConfig
from tl_jax.model.platform import platform

Rotation = tuple[jax.Array, jax.Array]
"""Cosines and sines of the angles, float32 [B, T, 1, K/2]."""


def rotation(config: LlamaConfig, positions: jax.Array) -> Rotation:
    """For ``positions`` int32 [B, T]; the same in every layer."""
    angles = positions[:, :, None, None].astype(jnp.float32) * rotary_frequencies(config)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return (_computed(cos), _computed(sin)) if platform() == "cpu" else (cos, sin)


def _computed(x: jax.Array) -> jax.Array:
    """``x``, finite, computed where this stands: by a product with the identity, which is exact.

    Anything else XLA computes again, on a processor, wherever it is read: sines and cosines for every head of every
    layer, which takes thirty times as long as a rotation by numbers that are there.
    """
    return jnp.matmul(x, np.eye(x.shape[-1], dtype=x.dtype), precision=jax.lax.Precision.HIGHEST)


def rotate(x: jax.Array, by: Rotation) -> jax.Array:
    """Rotates [B, T, H, K] in float32; element i pairs with i + K/2, as transformers' converted weights want it."""
    cos, sin = by
    if platform() == "tpu" and x.shape[1] > 1:
        return rotate_by_product(x, cos, sin)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


@jax.custom_vjp
def rotate_by_product(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """`rotate` for a TPU, the same numbers: halves of a head change places in a product with a permutation.

    Half a head is half a vector register: split and joined there, it is turned round in memory before and after. Each
    sum has one term that is not 0, so of finite numbers the product is exact, and so is its gradient, rotated back.
    """
    half = x.shape[-1] // 2
    swap = jnp.asarray(np.roll(np.eye(2 * half), half, axis=1), x.dtype)
    swapped = jnp.matmul(x, swap, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    both, signed = jnp.concatenate([cos, cos], axis=-1), jnp.concatenate([-sin, sin], axis=-1)
    return (x.astype(jnp.float32) * both + swapped * signed).astype(x.dtype)


def _forward(x: jax.Array, cos: jax.Array, sin: jax.Array) -> tuple[jax.Array, Rotation]:
    return rotate_by_product(x, cos, sin), (cos, sin)


def _backward(by: Rotation, gradient: jax.Array) -> tuple[jax.Array, None, None]:
    cos, sin = by
    return rotate_by_product(gradient, cos, -sin), None, None


rotate_by_product.defvjp(_forward, _backward)


def rotary_frequencies(config: LlamaConfig) -> np.ndarray:
    """Angle per position of each pair, float32 [K/2]: ``theta^(-2i/K)``, scaled as `RopeScaling` says."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim
    frequencies = (1.0 / np.float32(config.rope_theta) ** exponents).astype(np.float32)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / np.float32(scaling.factor)
    # llama3: how often a pair turns within the original context decides how much of its frequency is kept
    turns = scaling.original_max_position_embeddings * frequencies / np.float32(2 * np.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0, 1).astype(np.float32)
    return frequencies * (kept + (1 - kept) / np.float32(scaling.factor))
