"""cuDNN's flash attention on NVIDIA GPUs, through `jax.nn.dot_product_attention`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tl_jax.model.attention.mask import AttentionError, AttentionMask


def cudnn(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """The mask is handed over whole, [B, 1, T, S], the same for all heads. See `attention` for the shapes."""
    if jax.default_backend() != "gpu":
        raise AttentionError(f"attention 'cudnn' needs an NVIDIA GPU, not {jax.default_backend()!r}; use 'xla'")
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        raise AttentionError(f"attention 'cudnn' computes in bfloat16, not {query.dtype}; use model.dtype=bfloat16")
    return jax.nn.dot_product_attention(query, key, value, mask=mask.dense()[:, None], implementation="cudnn")
