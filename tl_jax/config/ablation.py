"""Settings of ``tl-jax ablation``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from tl_jax.config.base import AnyPath, Choice, DataPath, ModelPath, Node, Seed, Whole, one_or_more
from tl_jax.config.data import FormatName
from tl_jax.config.model import Dtype
from tl_jax.config.variants import VARIANTS
from tl_jax.config.world import WorldConfig
from tl_jax.tooluse.rewards.profiles import PROFILES

VariantNames = Annotated[tuple[str, ...], BeforeValidator(one_or_more), Choice(VARIANTS)]

SweepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
"""It becomes part of the name of a file."""


class AblationData(Node):
    """What is trained on and what is answered: files, or the tool world."""

    path: DataPath | None = Field(None, description="trajectories to train on")
    cases: DataPath | None = Field(None, description="that every model answers, in any format of cases or trajectories")
    format: FormatName = Field("auto", description="of cases; that of path is sft.settings.data.format")
    world: WorldConfig | None = Field(
        None,
        description="in place of both files: the made-up world with these dials (tl-jax config world); {} = as it is",
    )
    seed: Seed = Field(1, description="of the world; the variants' seeds are those of the trainings")

    @model_validator(mode="after")
    def _files_or_the_world(self) -> AblationData:
        if self.world is None and not (self.path and self.cases):
            raise ValueError("set path and cases, or world={} for the tool world")
        if self.world is not None and (self.path or self.cases):
            raise ValueError("world makes the files that path and cases would name; leave out one or the other")
        return self


class AblationTraining(Node):
    """The settings of a training: those of files, and others over them."""

    files: Annotated[tuple[AnyPath, ...], BeforeValidator(one_or_more)] = Field(
        (), description="YAML as tl-jax sft or tl-jax rl reads it; later ones win"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="as in such a file, over the files: {steps: 100, optimizer: {b1: 0.8}}"
    )


class AblationAnswers(Node):
    """How the cases are answered; greedily."""

    dtype: Dtype = "bfloat16"
    max_new_tokens: Whole = Field(256, ge=1)
    batch_size: Whole = Field(16, ge=1)
    limit: Whole | None = Field(None, ge=1, description="only the first cases")
    profile: Annotated[str, Choice(PROFILES, other="FILE.yaml")] = Field(
        "paper", description="of the mean reward, see docs/rewards.md"
    )


class Sweep(Node):
    """A dial: a setting of the ablation, its values, the variants that are run at each, and what else is set for it."""

    setting: str = Field(description="dotted: data.world.error_rate, sft.settings.data.pkt.max_weight")
    values: Annotated[tuple[Any, ...], Field(min_length=1)]
    variants: VariantNames | None = Field(None, description="null = those of the ablation")
    fixed: dict[str, Any] = Field(
        default_factory=dict,
        description="other settings, the same at every value, over those of the file: {data.world.error_rate: 0.45}",
    )

    @model_validator(mode="after")
    def _of_what_is_run(self) -> Sweep:
        for field, key in (("setting", self.setting), *(("fixed", key) for key in self.fixed)):
            if key.split(".")[0] not in ("model", "data", "sft", "rl", "eval"):
                raise ValueError(f"{field}={key}: a dial begins with model, data., sft., rl. or eval.")
        if self.setting in self.fixed:
            raise ValueError(f"fixed has {self.setting}, which is the dial itself; leave it out")
        return self


class AblationConfig(Node):
    """``tl-jax ablation``"""

    out: AnyPath = Field(description="directory of all runs, answers and the report; started again, it goes on there")
    model: ModelPath = Field(description="that every variant starts from")
    data: AblationData
    variants: VariantNames = Field(tuple(VARIANTS), description="SFT has none of the three parts")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field((0, 1, 2), description="of the trainings")
    sft: AblationTraining
    rl: AblationTraining = AblationTraining()
    eval: AblationAnswers = AblationAnswers()
    sweeps: dict[SweepName, Sweep] = Field(
        default_factory=dict, description="for --sweep NAME: {setting, values, variants, fixed}"
    )

    @model_validator(mode="after")
    def _everything_once(self) -> AblationConfig:
        for name in ("variants", "seeds"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name}: name each once, and one at least")
        if not self.sft.files:
            raise ValueError("sft.files: name the settings of the supervised training, configs/sft.yaml for instance")
        return self
