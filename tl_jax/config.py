"""One typed tree for every command: defaults here, values from YAML files, dotted overrides from the command line.

pydantic checks types and unknown keys; this file turns its findings into one line each with the nearest known key.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tl_jax.errors import UserError
from tl_jax.tooluse.readers import FORMATS


class ConfigError(UserError):
    """A configuration that cannot be used; ``str(error)`` names file or override, key and what to do."""


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


AnyPath = Annotated[Path, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
"""A path; YAML reads one such as 2026 as a number."""


class ModelConfig(Node):
    """Which weights, and how they are run."""

    path: AnyPath = Field(description="Hugging Face directory, tl-jax checkpoint or run directory to start from")
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="dtype of the computation")
    param_dtype: Literal["bfloat16", "float32"] = Field("float32", description="dtype of the stored parameters")
    attention: Literal["xla", "cudnn", "splash"] = Field("xla", description="attention backend")
    remat: Literal["none", "block", "dots"] = Field("block", description="what the backward pass recomputes")
    scan_layers: bool = Field(True, description="run the layers with lax.scan (compiles once) or unrolled")


class MaeConfig(Node):
    """Mitigating adverse effects: which erroneous calls are kept out of the gradient."""

    rule: str = Field("paper", description="none, paper, reference, or your own: module:function(tool_result)")
    block: Literal["all", "caller"] = Field("all", description="all errors, or only those that are the caller's fault")
    factor: float = Field(0.0, ge=0, le=1, description="weight of a blocked turn; 0 = it is no target")
    packs: tuple[str, ...] = Field((), description="families of errors that rule paper looks for; empty = all")

    @field_validator("rule")
    @classmethod
    def _names_a_rule(cls, rule: str) -> str:
        if rule not in ("none", "paper", "reference") and ":" not in rule:
            raise ValueError("must be none, paper, reference or module:function")
        return rule


class PktConfig(Node):
    """Prioritising key tokens: their weight is clip(|NK| / |K|, 1, max_weight)."""

    mode: Literal["none", "paper", "reference"] = "paper"
    max_weight: float = Field(9.0, ge=1.0)


def _check_format(name: str) -> str:
    if name not in ("auto", *FORMATS):
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{hint}known formats: {', '.join(('auto', *FORMATS))}")
    return name


Format = Annotated[str, AfterValidator(_check_format), Field(description="auto, or a format of docs/formats.md")]


class DataConfig(Node):
    """Trajectories and how they become rows of tokens."""

    path: AnyPath = Field(description="trajectories: JSONL or JSON file")
    format: Format = "auto"
    eval_path: AnyPath | None = Field(None, description="held-out trajectories whose loss is reported")
    renderer: Literal["paper", "released", "chat"] = Field("paper", description="text format of tools and calls")
    mae: MaeConfig = MaeConfig()
    pkt: PktConfig = PktConfig()
    max_length: int = Field(2048, ge=8, description="tokens in a row")
    overlong: Literal["drop_context", "skip"] = Field(
        "drop_context", description="a longer trajectory loses whole leading turns of context, or is skipped"
    )
    pack: bool = Field(True, description="several trajectories in one row")
    batch_size: int = Field(8, ge=1, description="rows in one optimizer step, over all devices")


class OptimizerConfig(Node):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-5, gt=0)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup_steps: int = Field(0, ge=0)
    warmup_ratio: float = Field(0.0, ge=0, le=1, description="used when warmup_steps is 0")
    final_scale: float = Field(0.0, ge=0, le=1, description="last learning rate / peak")
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(1.0, description="global gradient norm; null = no clipping")


class MeshConfig(Node):
    """Devices along each axis; one of them may be -1: whatever is left."""

    data: int = 1
    fsdp: int = -1
    tensor: int = 1


class CheckpointConfig(Node):
    every: int = Field(100, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, description="how many are kept")
    resume: Literal["auto", "never", "must"] = Field("auto", description="continue from the run directory's newest")


class RunConfig(Node):
    """What every training command has."""

    run_dir: AnyPath = Field(description="where config, logs, metrics and checkpoints go")
    seed: int = 0
    model: ModelConfig
    mesh: MeshConfig = MeshConfig()
    distributed: Literal["auto", "on", "off"] = Field(
        "auto", description="jax.distributed: auto = when a cluster is detected"
    )
    checkpoint: CheckpointConfig = CheckpointConfig()
    log_every: int = Field(10, ge=1)


class SftConfig(RunConfig):
    """``tl-jax sft``"""

    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    epochs: float = Field(1.0, gt=0)
    steps: int | None = Field(None, ge=1, description="overrides epochs")
    accumulate: int = Field(1, ge=1, description="micro-batches per optimizer step; divides data.batch_size")
    loss: str = Field("tl_jax.training.losses:weighted_cross_entropy", description="dotted path module:function")
    eval_every: int | None = Field(None, ge=1, description="steps between held-out losses; null = at the end only")


class SamplingConfig(Node):
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, ge=0, description="0 = greedy")
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    batch_size: int | None = Field(
        None, ge=1, description="answers written at once, those to prompts of similar lengths together; null = all"
    )


class PpoDataConfig(Node):
    """Decision points to act on: trajectories (each call is one) or evaluation cases with gold calls."""

    path: AnyPath
    format: Format = "auto"
    renderer: Literal["paper", "released", "chat"] = "paper"
    mae: MaeConfig = MaeConfig()
    max_prompt_length: int = Field(2048, ge=8, description="longer prompts are skipped and counted")
    eval_path: AnyPath | None = Field(None, description="where eval_prompts come from; null = path")


Limit = Annotated[float, Field(ge=0)] | None
"""``None`` switches a limit off; 0 is a limit of 0."""


class PpoAlgorithmConfig(Node):
    """How answers become updates; ``null`` switches a term off, 0 means 0. docs/rl.md has every formula."""

    estimator: Literal["gae", "grpo", "dr_grpo", "rloo", "reinforce++", "gdpo"] = Field(
        "gae", description="advantages: gae with a critic (PPO), or answers to the same prompt against each other"
    )
    epochs: int = Field(1, ge=1, description="passes over each rollout")
    minibatches: int = Field(1, ge=1, description="updates per pass")
    accumulate: int = Field(1, ge=1, description="parts of a minibatch, one after another to save memory; same update")
    kl_coef: float = Field(0.1, ge=0, description="weight of the KL to the reference (adaptive: its first value)")
    kl_in: Literal["reward", "loss"] = Field("reward", description="where the KL enters")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k1", description="reward: k1; loss: k2, or k3 as in GRPO")
    kl_target: float | None = Field(None, gt=0, description="nats per answer that kl_coef adapts to; null = fixed")
    kl_rate: float = Field(0.1, ge=0, description="how fast it adapts: at most 20 % of this per rollout")
    gamma: float = Field(1.0, ge=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    clip_low: Limit = Field(0.2, description="how far a probability ratio may fall below 1")
    clip_high: Limit = Field(0.2, description="how far it may rise above 1")
    dual_clip: float | None = Field(None, gt=1, description="limit of the ratio of a token with negative advantage")
    value_clip: Limit = Field(0.2, description="how far a value may move from the old one")
    reward_clip: Limit = Field(5.0, description="limit of the size of a turn's reward")
    whiten_advantages: bool = Field(True, description="gae only: mean 0, variance 1 over the rollout")
    whiten_rewards: bool = Field(False, description="variance 1 over the rollout's tokens, mean kept")
    average: Literal["published", "tokens", "answers", "length"] = Field(
        "published", description="how the losses of tokens are averaged; published = as the estimator's paper does"
    )
    entropy_coef: float | None = Field(None, ge=0, description="weight of an entropy bonus")
    target_kl: Limit = Field(None, description="no update once KL(old || new) of a minibatch exceeds it")
    importance_cap: Limit = Field(None, description="limit of the weights that correct the sampler's probabilities")
    missing_eos_penalty: Limit = Field(None, description="taken from the reward of an answer that was cut off")
    bootstrap_truncated: bool = Field(False, description="gae: an answer cut off ends with the critic's value")
    drop_equal_groups: bool = Field(False, description="answers of a group with equal rewards are no targets")
    critic_tower: Literal["sft", "random", "shared"] = Field(
        "sft", description="its own from the SFT weights or at random, or the actor's with a head; the head starts at 0"
    )
    value_coef: float = Field(
        1.0, ge=0, description="weight of the value loss against the policy's, for a shared tower"
    )
    critic_warmup: int = Field(0, ge=0, description="rollouts from which only the critic learns")
    logprob_temperature: float | None = Field(
        None, gt=0, description="temperature of the log-probabilities in ratio and KL; null = that of the sampling"
    )

    @model_validator(mode="after")
    def _kl_where_it_works(self) -> PpoAlgorithmConfig:
        if self.kl_in == "reward" and self.kl_estimator != "k1":
            raise ValueError(
                f"kl_estimator={self.kl_estimator} in the reward has a wrong gradient, which all but vanishes near the "
                "reference; use k1 there, or kl_in=loss"
            )
        if self.estimator == "gdpo" and (self.kl_in == "reward" or self.whiten_rewards):
            raise ValueError("gdpo normalises each reward by itself: use kl_in=loss and whiten_rewards=false")
        return self

    @property
    def has_critic(self) -> bool:
        return self.estimator == "gae"


class PpoConfig(RunConfig):
    """``tl-jax ppo``: PPO, or by ``algorithm.estimator`` GRPO and its kin"""

    data: PpoDataConfig
    sampling: SamplingConfig = SamplingConfig()
    algorithm: PpoAlgorithmConfig = PpoAlgorithmConfig()
    reward: str | dict[str, float] = Field(
        "paper",
        description="of a turn: a profile, live, or module:function(prediction, case) -> float; or {name: weight}",
    )
    episode_reward: str | None = Field(None, description="module:function(episode) -> float, added at its end")
    environment: str | None = Field(
        None,
        description="what answers calls: replay (recorded results) or module:function() -> Environment",
    )
    max_turns: int = Field(9, ge=1, description="turns of an episode at most, with an environment")
    batch_size: int = Field(64, ge=1, description="prompts in one rollout")
    group_size: int = Field(1, ge=1, description="answers to each prompt")
    steps: int = Field(100, ge=1, description="rollouts")
    actor: OptimizerConfig = OptimizerConfig(learning_rate=1e-6)
    critic: OptimizerConfig = OptimizerConfig(learning_rate=5e-6)
    eval_prompts: int = Field(64, ge=0, description="decision points of the fixed set scored greedily before and after")
    eval_every: int | None = Field(None, ge=1, description="also every so many rollouts")

    @model_validator(mode="after")
    def _groups_have_members(self) -> PpoConfig:
        if self.algorithm.estimator in ("grpo", "dr_grpo", "rloo", "gdpo") and self.group_size < 2:
            raise ValueError(
                f"algorithm.estimator={self.algorithm.estimator} compares answers to the same prompt; "
                "set group_size to 2 or more, for instance 8"
            )
        return self


Config = TypeVar("Config", bound=Node)


def load_config(kind: type[Config], files: Sequence[Path], overrides: Sequence[str]) -> Config:
    """Reads YAML ``files`` in order (later ones win), applies ``key.sub=value`` overrides, checks the result.

    Raises:
        ConfigError: a missing or unreadable file, an unknown key (with the nearest known one) or a wrong value.
    """
    tree: dict[str, Any] = {}
    for file in files:
        try:
            loaded = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{file}: must be a mapping of keys to values")
        _merge(tree, loaded)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r}: write key=value, for instance seed=1 or data.max_length=4096")
        _merge(tree, _nested(key.split("."), _scalar(text)))
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, item) for item in error.errors())) from None


def to_yaml(config: Node) -> str:
    """The whole tree, defaults included, as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def annotated_yaml(kind: type[Node], defaults: Node | None = None, indent: str = "") -> str:
    """Every key of ``kind`` with its default, its choices and what it means, as YAML to start a file from."""
    lines = []
    for name, field in kind.model_fields.items():
        default = getattr(defaults, name) if defaults else field.default
        choices = " | ".join(get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
        notes = "; ".join(note for note in (choices, field.description) if note)
        comment = f"  # {notes}" if notes else ""
        if isinstance(field.annotation, type) and issubclass(field.annotation, Node):
            section = default if isinstance(default, Node) else None
            lines.append(f"{indent}{name}:{comment}\n{annotated_yaml(field.annotation, section, indent + '  ')}")
        else:
            value = "REQUIRED" if field.is_required() else json.dumps(default, default=str)
            lines.append(f"{indent}{name}: {value}{comment}\n")
    return "".join(lines)


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _explain(kind: type[Node], item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        node: Any = kind
        for part in path[:-1]:
            node = node.model_fields[part].annotation
        near = difflib.get_close_matches(path[-1], node.model_fields, 1)
        return f"unknown key {where!r}" + (f"; did you mean {'.'.join([*path[:-1], near[0]])!r}?" if near else
                                            f"; known here: {', '.join(node.model_fields)}")  # fmt: skip
    if item["type"] == "missing":
        return f"key {where!r} is missing; set it in the file or as {where}=VALUE"
    problem = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a section as a whole
        return f"{where}: {problem}" if where else problem
    return f"key {where!r}: {problem}, got {item['input']!r}"
