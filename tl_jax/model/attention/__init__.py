"""Causal attention within segments, by backends that must agree; `tl_jax.config.attention` lists them."""

from tl_jax.model.attention.dispatch import attention
from tl_jax.model.attention.mask import AttentionError, AttentionMask

__all__ = ["AttentionError", "AttentionMask", "attention"]
