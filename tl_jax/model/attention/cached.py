"""Attention of new tokens to a cache, in whatever dtype it holds keys and values."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tl_jax.model.attention.dispatch import attention
from tl_jax.model.attention.mask import MASKED, AttentionMask
from tl_jax.model.attention.portable import one_query
from tl_jax.model.kv_dtype import Codes, Numbers, decoded


class Beginnings(NamedTuple):
    """Keys and values that neighbouring rows have in common: of row b those of u = b // (B / U)."""

    keys: Numbers
    """[U, G, P, K]; of a stack of layers [n, U, G, P, K]"""
    values: Numbers
    """[U, G, P, K]"""
    lengths: jax.Array
    """int32 [U]: behind them is nothing"""

    def of_layer(self, layer: jax.Array) -> Beginnings:
        """One of a stack."""
        keys, values = jax.tree.map(lambda stack: stack[layer], (self.keys, self.values))
        return self._replace(keys=keys, values=values)


def cached(
    query: jax.Array, keys: Numbers, values: Numbers, mask: AttentionMask, begun: Beginnings | None = None
) -> jax.Array:
    """As `attention` by ``xla``, with keys and values [B, S, G, K] of a cache.

    One new token of each row multiplies codes as they are, and the scales come to its scores and weights, which are
    as many as a head has keys and not K times that. Several new tokens have them decoded once.

    Args:
        query: [B, T, H, K].
        keys: what each row has for itself.
        values: the same.
        mask: which of these a query sees.
        begun: what is before them, all of which one new token of each row sees; None = nothing.
    """
    if query.shape[1] > 1 or not (isinstance(keys, Codes) and isinstance(values, Codes)):
        assert begun is None or query.shape[1] == 1, "several new tokens behind a beginning that rows share"
        numbers, scales = (decoded(keys, query.dtype), decoded(values, query.dtype)), None
    else:
        numbers, scales = (keys.codes, values.codes), _of_heads(keys, values, query.shape[2])
    if query.shape[1] > 1:
        return attention(query, *numbers, mask)
    mixed, total = one_query(query, *numbers, mask, scales)
    return mixed if begun is None else _with(begun, query, mixed, total)


def _of_heads(keys: Codes, values: Codes, heads: int) -> tuple[jax.Array, jax.Array]:
    """Scales of each head that reads them, float32 [B, S, H]."""
    of_keys, of_values = (jnp.repeat(x.scale[..., 0], heads // x.scale.shape[2], axis=2) for x in (keys, values))
    return of_keys, of_values


def _with(begun: Beginnings, query: jax.Array, mixed: jax.Array, total: jax.Array) -> jax.Array:
    """Of own keys a query has ``mixed`` [B, 1, H, K], with ``total`` [B, H], the logarithm of the sum of what it is
    divided by; so both parts are what they are of one softmax (https://arxiv.org/abs/2402.05099)."""
    before, of_beginning = _of_beginnings(query, begun)
    whole = jnp.logaddexp(total, of_beginning)
    shares = [jnp.exp(part - whole)[:, None, :, None] for part in (of_beginning, total)]
    return (before * shares[0] + mixed.astype(jnp.float32) * shares[1]).astype(query.dtype)


def _of_beginnings(query: jax.Array, begun: Beginnings) -> tuple[jax.Array, jax.Array]:
    """Float32 [B, 1, H, K] and [B, H]: queries of a beginning's rows together, as one product of each head."""
    (rows, _, heads, head_dim), dtype = query.shape, query.dtype
    keys, values = _codes(begun.keys), _codes(begun.values)
    count, groups, places, _ = keys.shape
    chex.assert_equal(rows % count, 0)
    inside = (count, rows // count, groups, heads // groups)  # of B x H
    together = jnp.swapaxes(query.reshape(*inside, head_dim), 1, 2).reshape(count, groups, -1, head_dim)
    scores = jnp.einsum("ugqk,ugpk->ugqp", together, keys.astype(dtype), preferred_element_type=jnp.float32)
    seen = jnp.arange(places) < begun.lengths[:, None, None, None]
    scores = jnp.where(seen, scores * _scales(begun.keys) * head_dim**-0.5, MASKED)
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    weights = (jnp.exp(scores - total) * _scales(begun.values)).astype(dtype)
    mixed = jnp.einsum("ugqp,ugpk->ugqk", weights, values.astype(dtype), preferred_element_type=jnp.float32)

    def apart(x: jax.Array) -> jax.Array:
        """[U, G, Q, k] -> [B, H, k]"""
        split = x.reshape(count, groups, rows // count, heads // groups, -1)
        return jnp.swapaxes(split, 1, 2).reshape(rows, heads, -1)

    return apart(mixed)[:, None], apart(total)[..., 0]


def _codes(x: Numbers) -> jax.Array:
    return x.codes if isinstance(x, Codes) else x


def _scales(x: Numbers) -> jax.Array | float:
    """What scores or weights [U, G, Q, P] are to be multiplied with."""
    return jnp.swapaxes(x.scale, 2, 3) if isinstance(x, Codes) else 1.0
