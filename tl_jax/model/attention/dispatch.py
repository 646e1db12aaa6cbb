"""The one entrance to attention: checks the shapes and calls the chosen backend."""

from __future__ import annotations

import chex
import jax

from tl_jax.config.attention import BACKENDS
from tl_jax.model.attention.mask import AttentionMask
from tl_jax.plugins import resolve


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, backend: str = "xla"
) -> jax.Array:
    """Softmax attention scaled by 1/sqrt(K), statistics in float32, keys and values shared by groups of heads.

    Args:
        query: [B, T, H, K].
        key: [B, S, G, K] where G divides H; head h uses group h // (H / G).
        value: [B, S, G, K].
        mask: which keys each query sees. ``splash`` takes the order of the slots for that of the positions within a
            segment.
        backend: a name of `tl_jax.config.attention.BACKENDS`.

    Returns:
        [B, T, H, K] in the dtype of ``query``.

    Raises:
        AttentionError: the backend cannot run here, or not on these shapes or dtypes.
        UserError: no backend has this name.
    """
    chex.assert_rank([query, key, value], 4)
    chex.assert_equal_shape([key, value])
    chex.assert_shape([mask.positions, mask.segment_ids], query.shape[:2])
    chex.assert_shape([mask.key_positions, mask.key_segment_ids], key.shape[:2])
    out = resolve(BACKENDS.find(backend).function)(query, key, value, mask)
    chex.assert_equal_shape([out, query])
    return out
