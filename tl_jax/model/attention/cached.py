"""Attention to a cache, in whatever dtype it holds keys and values."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tl_jax.model.attention.dispatch import attention
from tl_jax.model.attention.mask import AttentionMask
from tl_jax.model.attention.portable import one_query
from tl_jax.model.kv_dtype import Codes, Numbers, decoded


def cached(query: jax.Array, keys: Numbers, values: Numbers, mask: AttentionMask) -> jax.Array:
    """As `attention` by ``xla``, with keys and values [B, S, G, K] of a cache.

    One new token of each row multiplies codes as they are, and the scales come to its scores and weights, which are
    as many as a head has keys and not K times that. Several new tokens have them decoded once.
    """
    if query.shape[1] > 1 or not (isinstance(keys, Codes) and isinstance(values, Codes)):
        return attention(query, decoded(keys, query.dtype), decoded(values, query.dtype), mask)
    heads = query.shape[2] // keys.codes.shape[2]
    of_keys, of_values = (jnp.repeat(x.scale[..., 0], heads, axis=2) for x in (keys, values))  # [B, S, H]
    return one_query(query, keys.codes, values.codes, mask, (of_keys, of_values))
