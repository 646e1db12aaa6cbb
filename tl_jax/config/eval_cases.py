"""Which cases a supervised training answers while it goes on."""

from __future__ import annotations

from pydantic import Field

from tl_jax.config.base import DataPath, Node, Whole
from tl_jax.config.data import UNKNOWN, FormatName
from tl_jax.config.sampling import AtOnce
from tl_jax.tooluse.notes import Unknown


class EvalCasesConfig(Node):
    """TS, PI and CF of greedy answers to a fixed sample of cases, at every evaluation."""

    path: DataPath | None = Field(None, description="cases, or trajectories whose calls are the cases; null = none")
    format: FormatName = "auto"
    unknown: Unknown = Field("error", description=UNKNOWN)
    count: Whole = Field(64, ge=1, description="how many, from all over the file, always the same ones")
    max_prompt_length: Whole = Field(2048, ge=8, description="longer prompts are left out and counted")
    max_new_tokens: Whole = Field(256, ge=1, description="of an answer; a longer one is cut off")
    batch_size: AtOnce = Field(
        16, description="answers written at once; auto = as many as there is memory for; null = all"
    )
