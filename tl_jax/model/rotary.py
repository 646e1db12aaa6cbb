"""Rotary position embeddings (https://arxiv.org/abs/2104.09864) and their scaling for longer contexts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.model.config import LlamaConfig

Rotation = tuple[jax.Array, jax.Array]
"""Cosines and sines of the angles, float32 [B, T, 1, K/2]."""


def rotation(config: LlamaConfig, positions: jax.Array) -> Rotation:
    """For ``positions`` int32 [B, T]; the same in every layer."""
    angles = positions[:, :, None, None].astype(jnp.float32) * rotary_frequencies(config)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, by: Rotation) -> jax.Array:
    """Rotates [B, T, H, K] in float32; element i pairs with i + K/2, as transformers' converted weights want it."""
    cos, sin = by
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


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
