"""Low-rank adapters, trained in place of the model's own parameters."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from tl_jax.config.base import Node, Real, Whole, one_or_more

Quantized: TypeAlias = Literal["int8", "nf4"]
ALL_LINEAR = "all-linear"
"""Every matrix of every layer."""


class LoraConfig(Node):
    """Low-rank adapters (https://arxiv.org/abs/2106.09685): ``W + scale * A B`` in place of a matrix ``W``, which is
    frozen."""

    rank: Whole | None = Field(None, ge=1, le=65536, description="of A and B; null = all parameters are trained")
    alpha: Real = Field(16.0, gt=0, description="the product A B counts alpha / rank")
    targets: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        (ALL_LINEAR,), min_length=1, description="matrices: all-linear, or names as Hugging Face's, [q_proj, v_proj]"
    )
    modules_to_save: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = Field(
        (),
        description="trained whole beside the adapters, by Hugging Face's names: [embed_tokens, lm_head, norm]",
    )
    dropout: Real = Field(0.0, ge=0, lt=1, description="share of what A reads that counts as 0 in updates")
    rslora: bool = Field(False, description="it counts alpha / sqrt(rank) instead")
    quantize: Quantized | None = Field(
        None, description="int8 or nf4: the frozen matrices in 8 or 4 bits (QLoRA); null = in model.frozen_dtype"
    )

    @model_validator(mode="after")
    def _nothing_is_set_in_vain(self) -> LoraConfig:
        if self.model_fields_set and "rank" not in self.model_fields_set:
            names = " and ".join(sorted(self.model_fields_set))
            raise ValueError(f"{names} is of adapters, and there are none without lora.rank; set it, to null for none")
        return self

    @property
    def scale(self) -> float:
        """What the product of A and B is multiplied by; with ``rslora`` as in https://arxiv.org/abs/2312.03732.

        Example:
            >>> LoraConfig(rank=16, alpha=32).scale, LoraConfig(rank=16, alpha=32, rslora=True).scale
            (2.0, 8.0)
        """
        if self.rank is None:
            raise ValueError("there is no adapter")
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)
