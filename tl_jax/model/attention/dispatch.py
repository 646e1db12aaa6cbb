"""The one entrance to attention: checks the shapes, and calls the chosen backend or the fastest."""

from __future__ import annotations

import logging

import chex
import jax

from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.model.attention.mask import AttentionError, AttentionMask
from tl_jax.model.platform import platform
from tl_jax.plugins import resolve

_log = logging.getLogger(__name__)


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask, backend: str = "xla"
) -> jax.Array:
    """Softmax attention scaled by 1/sqrt(K), statistics in float32, keys and values shared by groups of heads.

    Args:
        query: [B, T, H, K].
        key: [B, S, G, K] where G divides H; head h uses group h // (H / G).
        value: [B, S, G, K].
        mask: which keys each query sees. All but ``xla`` take the order of the slots for that of the positions within a
            segment, and a segment's slots to lie together.
        backend: a name of `tl_jax.config.attention.BACKENDS`.

    Returns:
        [B, T, H, K] in the dtype of ``query``; any numbers where there is padding.

    Raises:
        AttentionError: the backend cannot run here, or not on these shapes or dtypes.
        UserError: no backend has this name.
    """
    chex.assert_rank([query, key, value], 4)
    chex.assert_equal_shape([key, value])
    chex.assert_shape([mask.positions, mask.segment_ids], query.shape[:2])
    chex.assert_shape([mask.key_positions, mask.key_segment_ids], key.shape[:2])
    record = BACKENDS.find(backend)
    if reason := _why_not(record, query, key, value, mask):
        raise AttentionError(f"attention {backend!r} {reason}; use 'auto' or 'xla'")
    out = resolve(record.function)(query, key, value, mask)
    chex.assert_equal_shape([out, query])
    return out


def auto(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    """The fastest backend of the mesh's devices that can compute this; the log says which, and why none faster.

    See `attention` for the shapes.
    """
    chosen, reasons = "xla", []
    for record in BACKENDS.values():
        if record.fastest_on != platform():
            continue
        reason = _why_not(record, query, key, value, mask)
        if reason is None:
            chosen = record.name
            break
        reasons.append(f"{record.name} {reason}")
    _log.info("attention runs as %s%s", chosen, f": {', and '.join(reasons)}" if reasons else "")
    return attention(query, key, value, mask, chosen)


def _why_not(record: Backend, query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> str | None:
    reason: str | None = resolve(record.why_not)(query, key, value, mask) if record.why_not else None
    return reason
