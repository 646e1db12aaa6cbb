"""What every training command has: a run directory, a model, devices, an optimizer, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tl_jax.config.base import Choice, Node, Real, RunPath, Seed, Switch, Whole
from tl_jax.config.lora import LoraConfig
from tl_jax.config.model import Dtype, MeshConfig, ModelConfig
from tl_jax.config.optimizers import OPTIMIZERS, SOMETIMES_READ
from tl_jax.config.schedules import SCHEDULES
from tl_jax.plugins import Plugin
from tl_jax.tooluse.text.template_choice import NO_CHOICE, TemplateChoice


class OptimizerConfig(Node):
    """An optimizer and its schedule."""

    name: Annotated[Plugin, Choice(OPTIMIZERS, other=OPTIMIZERS.also)] = Field(
        Plugin("adamw"), description="see docs/config.md; with options: {name: muon, options: {beta: 0.9}}"
    )
    learning_rate: Real = Field(1e-5, gt=0, le=10)
    schedule: Annotated[str, Choice(SCHEDULES)] = Field("cosine", description="after warm-up, see docs/config.md")
    warmup_steps: Whole = Field(0, ge=0)
    warmup_ratio: Real = Field(0.0, ge=0, le=1, description="used when warmup_steps is 0")
    final_scale: Real = Field(0.0, ge=0, le=1, description="last learning rate / peak")
    b1: Real = Field(0.9, ge=0, lt=1)
    b2: Real = Field(0.95, ge=0, lt=1)
    eps: Real = Field(1e-8, ge=0, le=1)
    mu_dtype: Dtype = Field("float32", description="dtype of the first moment; bfloat16 takes half the memory")
    weight_decay: Real = Field(0.0, ge=0, le=10)
    clip_norm: Real | None = Field(1.0, gt=0, description="global gradient norm; null = no clipping")

    @model_validator(mode="after")
    def _nothing_is_set_in_vain(self) -> OptimizerConfig:
        record = OPTIMIZERS.get(self.name.name)
        unread = [key for key in SOMETIMES_READ if record and key not in record.reads]
        for key in unread:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{self.name.name} does not read {key}; leave it out")
        return self


class CheckpointConfig(Node):
    every: Whole = Field(100, ge=1, description="steps between checkpoints")
    minutes: Real | None = Field(15.0, gt=0, description="or minutes, whichever comes first; null = steps only")
    grace_seconds: Real = Field(
        30.0, gt=0, description="between SIGTERM and the kill; a run that needs longer to stop warns"
    )
    keep: Whole = Field(2, ge=1, description="how many are kept")
    best: Literal["eval_loss", "eval_reward", "eval_TS", "eval_PI", "eval_CF"] | None = Field(
        None, description="the best by this metric is kept, too, and is what the run's directory opens as"
    )
    patience: Whole | None = Field(
        None, ge=1, description="evaluations without a better checkpoint.best after which training ends; null = never"
    )
    resume: Literal["auto", "never", "must"] = Field("auto", description="continue from the run directory's newest")
    verify: bool = Field(True, description="compare checkpoints with their checksums; a damaged one is set aside")


class RunConfig(Node):
    """What every training command has."""

    run_dir: RunPath = Field(description="where config, logs, metrics and checkpoints go; gs://BUCKET/FOLDER too")
    seed: Seed = 0
    model: ModelConfig
    lora: LoraConfig = LoraConfig()
    mesh: MeshConfig = MeshConfig()
    distributed: Switch = Field("auto", description="jax.distributed: auto = when a cluster is detected")
    checkpoint: CheckpointConfig = CheckpointConfig()
    log_every: Whole = Field(10, ge=1)
    eval_every: Whole | None = Field(None, ge=1, description="steps between evaluations; null = at the end only")

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The metrics that its evaluations may have."""
        return ()

    @model_validator(mode="after")
    def _the_best_is_known(self) -> RunConfig:
        best = self.checkpoint.best
        if best is None:
            if self.checkpoint.patience is not None:
                raise ValueError("checkpoint.patience waits for a better checkpoint.best; set that too")
        elif best not in self.evaluated:
            raise ValueError(
                f"checkpoint.best={best}: the evaluations of this run have {', '.join(self.evaluated) or 'nothing'}; "
                "docs/config.md says what each metric needs"
            )
        elif self.eval_every is None:
            raise ValueError("checkpoint.best goes by evaluations during the run; set eval_every, for instance 100")
        return self

    @property
    def adapter(self) -> LoraConfig | None:
        """What is trained beside a frozen model; None where the model itself is."""
        return None if self.lora.rank is None else self.lora

    @property
    def stored_dtype(self) -> Dtype:
        """Of the model's parameters: as they are trained, or below adapters, as they are kept."""
        model = self.model
        return (model.frozen_dtype or model.dtype) if self.adapter else model.param_dtype

    @property
    def template(self) -> TemplateChoice:
        """Which chat template writes, and what it is told."""
        return NO_CHOICE
