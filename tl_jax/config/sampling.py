"""How answers are drawn from a model."""

from __future__ import annotations

from pydantic import Field

from tl_jax.config.base import Node


class SamplingConfig(Node):
    """How a token is chosen: ``top_k`` first, then ``top_p`` of what is left, as transformers does."""

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, ge=0, description="0 = greedy, the most likely token")
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    batch_size: int | None = Field(
        None, ge=1, description="answers written at once, those to prompts of similar lengths together; null = all"
    )
