"""The model that benchmarks on processors train and sample from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tl_jax.model.config import LlamaConfig


def small_llama(hidden: int, layers: int, **others: Any) -> LlamaConfig:
    """A Llama with heads of 64; ``others`` are fields of `LlamaConfig`."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_layers=layers,
        num_heads=hidden // 64,
        num_kv_heads=hidden // 64,
        head_dim=64,
    )
    return replace(config, **others)
