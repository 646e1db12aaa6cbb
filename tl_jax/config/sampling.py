"""How answers are drawn from a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tl_jax.config.base import Node, OrWord, Real, Whole

AtOnce = Annotated[Annotated[Whole, Field(ge=1)] | Literal["auto"] | None, OrWord("auto")]
"""How many answers are written at once; None = all."""


class SamplingConfig(Node):
    """How a token is chosen: ``top_k`` first, then ``top_p`` of what is left, as transformers does."""

    max_new_tokens: Whole = Field(256, ge=1)
    temperature: Real = Field(1.0, ge=0, description="0 = greedy, the most likely token")
    top_k: Whole | None = Field(None, ge=1)
    top_p: Real | None = Field(None, gt=0, le=1)
    batch_size: AtOnce = Field(
        None,
        description="answers written at once, those to prompts of similar lengths together; auto = as many as there is "
        "memory for; null = all",
    )
