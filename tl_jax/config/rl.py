"""Settings of ``tl-jax rl``: PPO, or by ``algorithm.estimator`` GRPO and its kin."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tl_jax.config.base import Choice, DataPath, Node, Real, Whole
from tl_jax.config.curriculum import CurriculumConfig
from tl_jax.config.data import UNKNOWN, FormatName, Includes, MaeConfig, RendererName, TemplateKwargs, TemplateName
from tl_jax.config.engine import EngineConfig
from tl_jax.config.estimators import ESTIMATORS, Average, KlEstimator
from tl_jax.config.faults import FaultsConfig
from tl_jax.config.rewards import Rewards, WeightedReward
from tl_jax.config.run import CheckpointConfig, OptimizerConfig, RunConfig
from tl_jax.config.sampling import SamplingConfig
from tl_jax.plugins import Plugin
from tl_jax.tooluse.environments.registry import ENVIRONMENTS
from tl_jax.tooluse.notes import Unknown
from tl_jax.tooluse.rewards.episode import EPISODE_REWARDS
from tl_jax.tooluse.rewards.writable import Unwritable
from tl_jax.tooluse.text.template_choice import TemplateChoice


class RlDataConfig(Node):
    """Where prompts come from: trajectories, each call of which is a decision point, or cases with gold calls."""

    path: DataPath
    format: FormatName = "auto"
    unknown: Unknown = Field("error", description=UNKNOWN)
    renderer: RendererName = "paper"
    chat_template: TemplateName = None
    chat_template_kwargs: TemplateKwargs = Field(default_factory=dict)
    include: Includes = ()
    mae: MaeConfig = MaeConfig()
    unwritable: Unwritable = Field("error", description="what becomes of a gold answer that the format cannot say")
    max_prompt_length: Whole = Field(2048, ge=8, description="longer prompts are skipped and counted")
    eval_path: DataPath | None = Field(None, description="where eval_prompts come from; null = held out of path")
    eval_share: Real = Field(
        0.1, ge=0, lt=1, description="how much of path eval_prompts may hold out, by trajectory; 0 = none"
    )

    @property
    def template(self) -> TemplateChoice:
        """Which chat template writes, and what it is told."""
        return TemplateChoice(self.chat_template, self.chat_template_kwargs)


Limit = Annotated[Real, Field(ge=0)] | None
"""``None`` switches a limit off; 0 is a limit of 0."""


class AlgorithmConfig(Node):
    """How answers become updates; ``null`` switches a term off, 0 means 0. docs/rl.md has every formula."""

    estimator: Annotated[str, Choice(ESTIMATORS)] = Field(
        "gae", description="advantages: gae with a critic (PPO), or answers to the same prompt against each other"
    )
    epochs: Whole = Field(1, ge=1, description="passes over each rollout")
    minibatches: Whole = Field(1, ge=1, description="updates per pass")
    accumulate: Whole = Field(
        1, ge=1, description="parts of a minibatch, read one after another to save memory; same update"
    )
    tokens_per_microbatch: Whole | None = Field(
        None,
        ge=128,
        description="tokens that a device reads at once, and one episode at least, in place of accumulate; null = its "
        "part of a minibatch, at most 8192; same update",
    )
    kl_coef: Real = Field(0.1, ge=0, description="weight of the KL to the reference policy; adaptive: its first value")
    kl_in: Literal["reward", "loss"] = Field("reward", description="where the KL enters")
    kl_estimator: KlEstimator = Field("k1", description="reward: k1; loss: k2, or k3 as in GRPO")
    kl_target: Real | None = Field(None, gt=0, description="nats per answer that kl_coef adapts to; null = fixed")
    kl_rate: Real = Field(0.1, ge=0, description="how fast it adapts: at most 20 % of this per rollout")
    gamma: Real = Field(1.0, ge=0, le=1, description="discount of later rewards, per token or turn")
    lam: Real = Field(0.95, ge=0, le=1, description="gae: 1 = returns less values, 0 = one step ahead")
    critic_lam: Real | None = Field(None, ge=0, le=1, description="gae: that of what the critic learns; null = lam")
    lam_alpha: Real | None = Field(
        None, gt=0, description="gae: lam of the policy goes by the length l, 1 - 1 / (lam_alpha l); null = lam"
    )
    advantage_scope: Literal["episode", "turn"] = Field(
        "episode", description="what is compared and has one advantage; gae: episode = token by token"
    )
    old_log_probs: Literal["auto", "recompute", "sampler"] = Field(
        "auto",
        description="what updates start from: recompute = the policy reads every rollout first; auto = not where the "
        "only update finds the same; sampler = what it said while writing",
    )
    steps_off_policy: Whole = Field(
        0,
        ge=0,
        le=1,
        description="1 = a step learns from episodes of the policy one step before; they are rewarded while devices "
        "learn",
    )
    clip_low: Limit = Field(0.2, description="how far a probability ratio may fall below 1")
    clip_high: Limit = Field(0.2, description="how far it may rise above 1")
    dual_clip: Real | None = Field(None, gt=1, description="limit of the ratio of a token with negative advantage")
    value_clip: Limit = Field(0.2, description="how far a value may move from the old one")
    reward_clip: Limit = Field(5.0, description="limit of the size of a turn's weighted rewards, and of the episode's")
    whiten_advantages: bool = Field(True, description="gae only: mean 0, variance 1 over the rollout")
    whiten_rewards: bool = Field(False, description="variance 1 over the rollout's tokens, mean kept")
    average: Literal["published", Average] = Field(
        "published", description="how the losses of tokens are averaged; published = as the estimator's paper does"
    )
    entropy_coef: Real | None = Field(None, ge=0, description="weight of an entropy bonus")
    target_kl: Limit = Field(None, description="no update once KL(old || new) of a minibatch exceeds it")
    importance_cap: Limit = Field(None, description="limit of the weights that correct the sampler's probabilities")
    missing_eos_penalty: Limit = Field(None, description="taken from the reward of an answer that was cut off")
    overlong_buffer: Whole | None = Field(
        None, ge=1, description="last tokens before the limit, in which an answer is punished more and more"
    )
    overlong_penalty: Real = Field(1.0, ge=0, description="taken at the limit itself, if there is an overlong_buffer")
    mask_truncated: bool = Field(False, description="episodes that were cut off are no targets")
    bootstrap_truncated: bool = Field(False, description="gae: an answer cut off ends with the critic's value")
    drop_equal_groups: bool = Field(False, description="answers of a group with equal rewards are no targets")
    critic_backbone: Literal["sft", "random", "shared"] = Field(
        "sft",
        description="its own from the SFT weights (lora: adapters) or at random, or the actor's; the head starts at 0",
    )
    value_coef: Real = Field(
        1.0, ge=0, description="weight of the value loss against the policy's, for a shared backbone"
    )
    critic_warmup: Whole = Field(0, ge=0, description="rollouts from which only the critic learns")
    logprob_temperature: Real | None = Field(
        None, gt=0, description="temperature of the log-probabilities in ratio and KL; null = that of the sampling"
    )

    @model_validator(mode="after")
    def _kl_where_it_works(self) -> AlgorithmConfig:
        if self.kl_in == "reward" and self.kl_estimator != "k1":
            raise ValueError(
                f"kl_estimator={self.kl_estimator} in the reward has a wrong gradient, almost 0 near the reference "
                "policy; use k1 there, or kl_in=loss"
            )
        return self

    @model_validator(mode="after")
    def _what_is_old_is_corrected(self) -> AlgorithmConfig:
        if self.steps_off_policy and self.importance_cap is None and self.old_log_probs != "sampler":
            raise ValueError(
                "steps_off_policy=1 learns from episodes of the policy one step before: set importance_cap, which "
                "weighs them, for instance to 2, or old_log_probs=sampler"
            )
        return self

    @model_validator(mode="after")
    def _what_is_read_at_once_is_said_once(self) -> AlgorithmConfig:
        if self.tokens_per_microbatch is not None and self.accumulate > 1:
            raise ValueError(
                f"tokens_per_microbatch={self.tokens_per_microbatch} says how much a device reads at once, and "
                f"accumulate={self.accumulate} would change nothing; set accumulate=1, or tokens_per_microbatch=null"
            )
        return self

    @model_validator(mode="after")
    def _what_adapts_is_not_0(self) -> AlgorithmConfig:
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target adapts kl_coef by factors, and 0 stays 0; set a kl_coef above 0 to begin with")
        return self

    @model_validator(mode="after")
    def _fits_its_estimator(self) -> AlgorithmConfig:
        estimator = ESTIMATORS[self.estimator]
        wanted = dict(estimator.requires)
        if self.kl_coef == 0:
            wanted.pop("kl_in", None)  # it is nowhere
        if any(getattr(self, name) != value for name, value in wanted.items()):
            raise ValueError(f"{self.estimator} {estimator.because}: use {' and '.join(estimator.required)}")
        return self

    @model_validator(mode="after")
    def _turns_are_not_whitened(self) -> AlgorithmConfig:
        if self.advantage_scope == "turn" and self.whiten_rewards:
            raise ValueError("advantage_scope=turn tells rewards of turns and outcomes apart: use whiten_rewards=false")
        return self

    @property
    def has_critic(self) -> bool:
        return ESTIMATORS[self.estimator].needs_critic

    @property
    def loss_average(self) -> Average:
        """How the losses of tokens are averaged, with ``published`` resolved."""
        return ESTIMATORS[self.estimator].average if self.average == "published" else self.average


class RlConfig(RunConfig):
    """``tl-jax rl``: PPO, or by ``algorithm.estimator`` GRPO and its kin"""

    checkpoint: CheckpointConfig = CheckpointConfig(every=10)
    data: RlDataConfig
    sampling: SamplingConfig = SamplingConfig()
    engine: EngineConfig = EngineConfig()
    algorithm: AlgorithmConfig = AlgorithmConfig()
    reward: Rewards = Field(
        (WeightedReward(Plugin("paper")),),
        description="of a turn, see docs/rewards.md; a function of (prediction, case)",
    )
    episode_reward: Annotated[Plugin, Choice(EPISODE_REWARDS, other="module:function")] | None = Field(
        None, description="of the whole episode, added at its end; a function of the episode"
    )
    environment: Annotated[Plugin, Choice(ENVIRONMENTS, other="module:function")] | None = Field(
        None, description="what answers calls, see docs/environments.md; a function that makes one"
    )
    max_turns: Whole = Field(9, ge=1, description="turns of an episode at most, with an environment")
    faults: FaultsConfig = FaultsConfig()
    online_mae: MaeConfig = MaeConfig(rule=Plugin("none"), block="environment")
    batch_size: Whole = Field(64, ge=1, description="prompts in one rollout")
    group_size: Whole = Field(1, ge=1, description="answers to each prompt")
    max_resamples: Whole = Field(
        0, ge=0, description="how often groups that all earned the same give way to other prompts (dynamic sampling)"
    )
    curriculum: CurriculumConfig = CurriculumConfig()
    steps: Whole = Field(100, ge=1, description="rollouts")
    actor: OptimizerConfig = OptimizerConfig(learning_rate=1e-6)
    critic: OptimizerConfig = OptimizerConfig(learning_rate=5e-6)
    eval_prompts: Whole = Field(64, ge=0, description="decision points of a fixed set scored greedily before and after")

    @property
    def evaluated(self) -> tuple[str, ...]:
        return ("eval_reward", "eval_TS", "eval_PI", "eval_CF") if self.eval_prompts else ()

    @property
    def template(self) -> TemplateChoice:
        return self.data.template

    @model_validator(mode="after")
    def _tools_answer(self) -> RlConfig:
        if self.online_mae.rule.name != "none" and self.environment is None:
            raise ValueError("online_mae reads what tools answer; set environment, for instance environment=replay")
        return self

    @model_validator(mode="after")
    def _adapters_have_one_base(self) -> RlConfig:
        if self.adapter and self.algorithm.critic_backbone == "random":
            raise ValueError(
                "algorithm.critic_backbone=random is no model that adapters can stand on; use sft or shared"
            )
        return self

    @model_validator(mode="after")
    def _policies_are_comparable(self) -> RlConfig:
        if self.adapter and self.lora.dropout and self.algorithm.old_log_probs == "sampler":
            raise ValueError(
                "algorithm.old_log_probs=sampler: the sampler drops nothing, and under lora.dropout="
                f"{self.lora.dropout} the ratio of an unchanged policy to it would not be 1; use auto"
            )
        return self

    @model_validator(mode="after")
    def _a_reference_is_kept(self) -> RlConfig:
        if "reference" in self.model.offload:
            if self.adapter:
                raise ValueError("model.offload=reference: the reference of adapters is the model below them, no copy")
            if not self.algorithm.kl_coef:
                raise ValueError("model.offload=reference: without a KL (algorithm.kl_coef=0) no reference is kept")
        return self

    @model_validator(mode="after")
    def _the_sampler_means_the_same(self) -> RlConfig:
        other = self.algorithm.logprob_temperature
        if self.algorithm.old_log_probs == "sampler" and other not in (None, self.sampling.temperature):
            raise ValueError(
                f"algorithm.old_log_probs=sampler: the sampler's log-probabilities are those at sampling.temperature="
                f"{self.sampling.temperature}, not at algorithm.logprob_temperature={other}; make both the same, or "
                "use recompute"
            )
        return self

    @model_validator(mode="after")
    def _another_engine_is_corrected(self) -> RlConfig:
        if self.engine.name == "in_process":
            return self
        if self.algorithm.old_log_probs == "sampler":
            raise ValueError(
                "algorithm.old_log_probs=sampler: another engine computes otherwise than the step; use auto"
            )
        if self.algorithm.importance_cap is None:
            raise ValueError(
                f"engine.name={self.engine.name}: another engine draws by other probabilities than the step computes, "
                "which has to be corrected; set algorithm.importance_cap, for instance 2"
            )
        if self.adapter:
            raise ValueError(
                f"engine.name={self.engine.name} gets whole models, no adapters; use engine.name=in_process"
            )
        return self

    @model_validator(mode="after")
    def _answers_are_longer_than_their_end(self) -> RlConfig:
        length, limit = self.algorithm.overlong_buffer, self.sampling.max_new_tokens
        if length and length > limit:
            raise ValueError(f"algorithm.overlong_buffer={length} is more than sampling.max_new_tokens={limit}")
        return self

    @model_validator(mode="after")
    def _groups_have_members(self) -> RlConfig:
        if ESTIMATORS[self.algorithm.estimator].needs_groups and self.group_size < 2:
            raise ValueError(
                f"algorithm.estimator={self.algorithm.estimator} compares answers to the same prompt; "
                "set group_size to 2 or more, for instance 8"
            )
        for name, wanted in (("max_resamples", self.max_resamples), ("curriculum.share", self.curriculum.share)):
            if wanted and self.group_size < 2:
                raise ValueError(f"{name} goes by how answers to the same prompt differ; set group_size to 2 or more")
        return self
