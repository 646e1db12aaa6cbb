"""What policy, reference policy and critic think of a rollout, and what updates are made of for that.

Everything that says what the models think of an answer goes through `policy_scores`, for old, new and reference model
alike, in float32 and at one temperature: with unchanged weights the ratio is 1 and the KL is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.config import AlgorithmConfig
from tl_jax.data.batch import Array
from tl_jax.model.llama import Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.value import ValueModel, head_values
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.advantages import after_last, explained_variance, masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.estimators import EstimatorInputs, estimate
from tl_jax.rl.kl import kl_estimate
from tl_jax.rl.parts import MicroBatch, read_once
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.training.losses import Statistic, TokenScores, entropy, label_log_probs

Metrics = dict[str, Any]
SUMS = "gradient_sums"
"""Beside the models: sums to which layers add their gradients, at the paths of their parameters."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Experience:
    """What the losses need of a rollout besides itself; arrays [B, N]."""

    mask: Array
    """bool: tokens that the policy learns from"""
    old_logprobs: Array | None
    """None = those that the only update finds itself"""
    ref_logprobs: Array | None
    """of the reference policy; None = there is no KL"""
    old_values: Array
    advantages: Array
    returns: Array


class ScoredRollout(NamedTuple):
    """A rollout that updates can learn from, and what is told of it."""

    experience: Experience
    metrics: Metrics


class PolicyTokens(NamedTuple):
    """What the policy thinks of what was written, float32 [B, N] or in rows [R, T]."""

    logprobs: jax.Array
    entropies: jax.Array


class Readings(NamedTuple):
    """What the models say of a rollout, float32 [B, N] or in rows [R, T]."""

    values: jax.Array
    policy: PolicyTokens | None
    """None = it is not read before the first update"""
    ref_logprobs: jax.Array | None
    """None = there is no KL"""


def scores_policy_first(spec: StepSpec) -> bool:
    """Whether the policy reads a rollout before the first update, and not only in it.

    It need not where the log-probabilities that updates start from are the sampler's, or, with one update, those that
    it finds itself; if nothing else is made of them before, as a KL in the reward is. An update that drops something
    finds those of another policy than the one that wrote.
    """
    config = spec.config
    updates = config.epochs * config.minibatches
    if spec.drops:
        return True
    if config.old_log_probs == "recompute" or config.critic_warmup or (updates > 1 and config.target_kl is not None):
        return True
    if config.old_log_probs == "sampler":
        return False
    return updates > 1 or bool(config.kl_coef and config.kl_in == "reward")


def learns_while_scoring(spec: StepSpec, updates: int, parts: int) -> bool:
    """Whether the only update's own reading scores the rollout, so that policy and critic read it once.

    One part has to be all of it, for advantages go by the whole rollout. A critic of its own then learns before the
    actor, which must not be asked whether it has moved too far, as it could only have by the sampler's account. What
    an update drops must not be missing from the scores.
    """
    config = spec.config
    if spec.drops or config.old_log_probs == "recompute" or config.critic_warmup:
        return False
    stops = config.old_log_probs == "sampler" and config.target_kl is not None
    return (updates, parts) == (1, 1) and not stops


def read_before(spec: StepSpec, updates: int, parts: int) -> tuple[str, ...]:
    """The models that read a rollout before the first update of so many, each of so many parts.

    They are some of ``reference``, ``actor`` and ``critic``; a critic on the actor's backbone reads nothing itself.
    """
    config = spec.config
    reference = ("reference",) if config.kl_coef else ()
    if learns_while_scoring(spec, updates, parts):
        return reference
    shared = config.has_critic and config.critic_backbone == "shared"
    actor = ("actor",) if scores_policy_first(spec) or shared else ()
    return (*reference, *actor, *(("critic",) if config.has_critic and not shared else ()))


def scores_apart(spec: StepSpec, updates: int, parts: int) -> bool:
    """Whether to score a rollout is a program of its own: something is read before the first update, but not by it."""
    return not learns_while_scoring(spec, updates, parts) and bool(read_before(spec, updates, parts))


def hidden_states(params: Params, part: MicroBatch, spec: StepSpec) -> jax.Array:
    """Of the policy where it is read, [R, T, D]; ``params`` are ``{"actor": ...}`` and maybe more."""
    actor: Llama = merge(spec.actor.graphdef, params["actor"])
    actor.dropout_keys = part.dropout_keys
    actor.gradient_sums = _sums(params, "actor", "layers")
    return actor.hidden(*part.inputs, part.wanted)


def policy_scores(
    params: Params,
    hidden: jax.Array,
    part: MicroBatch,
    spec: StepSpec,
    statistics: Mapping[str, Statistic] | None = None,
) -> TokenScores:
    """Log-probabilities of the labels and ``statistics`` of the logits, float32 [R, T], 0 outside the mask.

    Args:
        params: ``{"actor": ...}`` and maybe more.
        hidden: the actor's `hidden_states` of ``part``.
        part: rows with labels [R, T].
        spec: the models, and the temperature of the log-probabilities.
        statistics: what else to compute of the policy's logits, see `label_log_probs`.
    """
    actor: Llama = merge(spec.actor.graphdef, params["actor"])
    return label_log_probs(actor, hidden, part.labels, part.mask, statistics, temperature=spec.temperature)


def token_values(params: Params, hidden: Callable[[], jax.Array], part: MicroBatch, spec: StepSpec) -> jax.Array:
    """The critic's values, float32 [R, T]: what it expects after reading each token. They are 0 without a critic.

    ``hidden`` gives the actor's `hidden_states`, for a critic that is a head on them.
    """
    if "critic" not in params:
        return jnp.zeros(part.mask.shape, jnp.float32)
    if spec.config.critic_backbone == "shared":
        return head_values(hidden(), params["critic"]["value_head"])
    critic: ValueModel = merge(spec.critic.graphdef, params["critic"])
    critic.backbone.dropout_keys = part.dropout_keys
    critic.backbone.gradient_sums = _sums(params, "critic", "backbone", "layers")
    return critic.values(critic.backbone.hidden(*part.inputs, part.wanted))


def per_token_logps(
    params: Params, part: MicroBatch, spec: StepSpec, statistics: Mapping[str, Statistic] | None = None
) -> tuple[TokenScores, jax.Array]:
    """What the models think of what was written: `policy_scores` and `token_values`, with one reading each."""
    hidden = hidden_states(params, part, spec)
    scores = policy_scores(params, hidden, part, spec, statistics)
    return scores, token_values(params, lambda: hidden, part, spec)


def score_rollout(state: RlState, rollout: RolloutBatch, spec: StepSpec) -> ScoredRollout:
    """Log-probabilities, values and advantages before the first update, in the rows of the first epoch's updates.

    The policy is read where `scores_policy_first`; metrics are those of `experience_of`.
    """
    params, ref = _copies(state.params, state, spec), ref_model(state, spec)
    scored = scores_policy_first(spec)

    def score(part: MicroBatch) -> Readings:
        ref_logprobs = None if ref is None else logprobs_of(ref, part, spec)
        if not scored:
            values = token_values(params, lambda: hidden_states(params, part, spec), part, spec)
            return Readings(values, None, ref_logprobs)
        policy, values = per_token_logps(params, part, spec, {"entropy": entropy})
        return Readings(values, PolicyTokens(policy.log_probs, policy.statistics["entropy"]), ref_logprobs)

    return experience_of(read_once(score, rollout, spec.config.minibatches), state, rollout, spec)


def ref_model(state: RlState, spec: StepSpec) -> Params | None:
    """The reference policy, ``{"actor": ...}``, as it computes; None where there is no KL to it."""
    return {"actor": _copies(spec.ref_params(state), state, spec)} if spec.config.kl_coef else None


def logprobs_of(params: Params, part: MicroBatch, spec: StepSpec) -> jax.Array:
    """What a policy, ``{"actor": ...}``, says of the labels: float32 [R, T]."""
    return policy_scores(params, hidden_states(params, part, spec), part, spec).log_probs


def _sums(params: Params, *path: str) -> Params | None:
    found: Any = params.get(SUMS)
    for name in path:
        found = found and found.get(name)
    return found or None


def _copies(params: Params, state: RlState, spec: StepSpec) -> Params:
    return in_compute_dtype(params, compute_dtype(spec.actor.graphdef, state.params["actor"]))


def experience_of(found: Readings, state: RlState, rollout: RolloutBatch, spec: StepSpec) -> ScoredRollout:
    """What updates learn from: advantages, returns, and what they start from.

    Args:
        found: what the models say of ``rollout``, arrays [B, N].
        state: of it the weight of the KL.
        rollout: that is learnt from.
        spec: what the step is made of.

    Metrics; a mean over tokens is over the tokens the policy wrote, EOS included, of the whole rollout:
        score: mean of the episodes' rewards, as they enter the advantages.
        value, explained_variance: with a critic, mean of its values; 1 - Var(returns - values) / Var(returns).
        equal_groups: with groups, the share of those whose answers all earned the same.
        those of `policy_metrics`, where ``found`` has the policy's.
    """
    config, mask, policy = spec.config, rollout.mask, found.policy
    old_logprobs = policy.logprobs if policy else None
    if config.old_log_probs == "sampler":
        old_logprobs = rollout.logprobs
    kl = jnp.zeros(mask.shape, jnp.float32)
    if found.ref_logprobs is not None and old_logprobs is not None:
        kl = kl_estimate("k1", old_logprobs, found.ref_logprobs)
    last_values = jnp.where(rollout.cut_off & config.bootstrap_truncated, after_last(found.values, mask), 0.0)
    values = jnp.where(mask, found.values, 0.0)
    estimated = estimate(
        EstimatorInputs(
            rewards=rollout.rewards,
            weights=jnp.asarray(spec.reward_weights, jnp.float32),
            kinds=spec.reward_kinds,
            turns=rollout.turns,
            kl=kl,
            kl_coef=state.kl_coef,
            values=values,
            last_values=last_values,
            mask=mask,
            group_size=spec.group_size,
            config=config,
        )
    )
    metrics = {"score": jnp.mean(estimated.scores), "kl_coef": state.kl_coef}
    if policy:
        metrics |= policy_metrics(rollout, policy, found.ref_logprobs, metrics["score"], state.kl_coef, config)
    if config.has_critic:
        metrics["explained_variance"] = explained_variance(values, estimated.returns, mask)
        metrics["value"] = masked_mean(values, mask)
    if spec.group_size > 1:
        metrics["equal_groups"] = jnp.mean(estimated.equal)
    learnt_from = mask & (rollout.weights > 0)
    if config.drop_equal_groups:
        learnt_from &= ~estimated.equal[:, None]
    experience = Experience(
        mask=learnt_from,
        old_logprobs=old_logprobs,
        ref_logprobs=found.ref_logprobs,
        old_values=values,
        advantages=estimated.advantages,
        returns=estimated.returns,
    )
    return ScoredRollout(experience, metrics)


def policy_metrics(
    rollout: RolloutBatch,
    policy: PolicyTokens,
    ref_logprobs: jax.Array | None,
    score: jax.Array,
    kl_coef: jax.Array,
    config: AlgorithmConfig,
) -> Metrics:
    """What is told of the policy that a rollout is learnt from, arrays [B, N]; ``score`` is the mean of the rewards.

    Metrics; a mean over tokens is over the tokens the policy wrote, EOS included, of the whole rollout:
        kl, kl_per_answer: ``log pi - log ref`` as a mean over tokens, and summed over each episode; not at KL 0.
        reward_with_kl: mean of ``score - kl_coef * (sum of log pi - log ref)``, the objective.
        entropy: of the policy in nats, a mean over tokens.
        sampler_drift, sampler_drift_max: mean and maximum of ``|log pi - log p|`` with p as the sampler reports it:
            rounding, or where ``logprob_temperature`` is another one, how far off-policy the samples are.
        importance: with ``importance_cap``, the mean weight.
    """
    mask = rollout.mask
    drift = jnp.where(mask, jnp.abs(policy.logprobs - rollout.logprobs), 0.0)
    metrics = {
        "reward_with_kl": score,
        "entropy": masked_mean(policy.entropies, mask),
        "sampler_drift": masked_mean(drift, mask),
        "sampler_drift_max": jnp.max(drift),
    }
    if ref_logprobs is not None:
        kl = kl_estimate("k1", policy.logprobs, ref_logprobs)
        metrics["kl"] = masked_mean(kl, mask)
        metrics["kl_per_answer"] = jnp.mean(jnp.sum(jnp.where(mask, kl, 0.0), axis=1))
        metrics["reward_with_kl"] -= kl_coef * metrics["kl_per_answer"]
    if config.importance_cap is not None:
        weights = rl_losses.importance_weights(policy.logprobs, rollout.drawn_logprobs, config.importance_cap)
        metrics["importance"] = masked_mean(weights, mask)
    return metrics
