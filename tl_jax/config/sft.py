"""Settings of ``tl-jax sft``."""

from __future__ import annotations

from pydantic import Field, model_validator

from tl_jax.config.base import Real, Whole
from tl_jax.config.data import DataConfig
from tl_jax.config.eval_cases import EvalCasesConfig
from tl_jax.config.losses import LossPlugin
from tl_jax.config.run import OptimizerConfig, RunConfig
from tl_jax.plugins import Plugin
from tl_jax.tooluse.text.template_choice import TemplateChoice


class SftConfig(RunConfig):
    """``tl-jax sft``"""

    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    epochs: Real = Field(1.0, gt=0, le=1e6)
    steps: Whole | None = Field(None, ge=1, description="overrides epochs")
    accumulate: Whole = Field(1, ge=1, description="micro-batches per optimizer step; divides data.batch_size")
    loss: LossPlugin = Field(
        Plugin("weighted_cross_entropy"), description="with options: {name: label_smoothing, options: {smoothing: 0.1}}"
    )
    eval_cases: EvalCasesConfig = EvalCasesConfig()

    @property
    def evaluated(self) -> tuple[str, ...]:
        loss = ("eval_loss",) if self.data.eval_path else ()
        return (*loss, *(("eval_TS", "eval_PI", "eval_CF") if self.eval_cases.path else ()))

    @model_validator(mode="after")
    def _nothing_is_a_reference(self) -> SftConfig:
        if "reference" in self.model.offload:
            raise ValueError("model.offload=reference: supervised training has none; use moments or activations")
        return self

    @property
    def template(self) -> TemplateChoice:
        return self.data.template
