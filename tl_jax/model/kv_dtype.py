"""Keys and values as a cache holds them: in the dtype of the computation, in another, or in 8 bits.

In 8 bits each head's K numbers of a token are int8 codes with one scale, the largest of them being 127. Whoever reads
them, a prompt while it is read included, sees what the codes stand for: which part of a conversation was in the cache
before makes no difference.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from tl_jax.config.engine import KvCacheDtype

LARGEST = 127


class Codes(NamedTuple):
    """Numbers in 8 bits: code times scale."""

    codes: jax.Array
    """int8 [..., K]"""
    scale: jax.Array
    """float32 [..., 1]"""


Numbers: TypeAlias = "jax.Array | Codes"
"""Keys or values, [..., K]; of a `Codes` every leaf has as many axes."""


def dtype_of(kind: KvCacheDtype, computation: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype that a setting means; ``auto`` is that of the computation."""
    return jnp.dtype(computation if kind == "auto" else kind)


def encoded(x: jax.Array, dtype: jax.typing.DTypeLike) -> Numbers:
    """Keys or values [..., K] as a cache of this dtype holds them."""
    if jnp.dtype(dtype) != jnp.int8:
        return x.astype(dtype)
    wide = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=-1, keepdims=True) / LARGEST
    return Codes(jnp.round(wide / jnp.where(scale == 0, 1, scale)).astype(jnp.int8), scale)


def decoded(x: Numbers, dtype: jax.typing.DTypeLike) -> jax.Array:
    """What they stand for."""
    if isinstance(x, Codes):
        return (x.codes.astype(jnp.float32) * x.scale).astype(dtype)
    return x.astype(dtype)


def zeros(shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> Numbers:
    """Nothing but zeros."""
    if jnp.dtype(dtype) != jnp.int8:
        return jnp.zeros(shape, dtype)
    return Codes(jnp.zeros(shape, jnp.int8), jnp.zeros((*shape[:-1], 1), jnp.float32))


def bytes_of_head(head_dim: int, dtype: jax.typing.DTypeLike) -> int:
    """Bytes of one head's keys or values of one token.

    Example:
        >>> [bytes_of_head(64, dtype) for dtype in ("float32", "bfloat16", "int8")]
        [256, 128, 68]
    """
    return head_dim * jnp.dtype(dtype).itemsize + (4 if jnp.dtype(dtype) == jnp.int8 else 0)
