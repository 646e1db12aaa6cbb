"""What the models that learn lose on a minibatch of a rollout: the sums over the rows of a part, and what they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.data.batch import Array
from tl_jax.model.parameters import Params
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.kl import kl_estimate
from tl_jax.rl.parts import MicroBatch, standing_in
from tl_jax.rl.rows import Rows
from tl_jax.rl.scores import (
    Experience,
    Metrics,
    PolicyTokens,
    hidden_states,
    policy_scores,
    scores_policy_first,
    token_values,
)
from tl_jax.rl.state import StepSpec
from tl_jax.training.losses import Statistic, TokenScores, entropy


class Weights(NamedTuple):
    """What a token counts in the sums over a minibatch, float32 each; 0 where it counts nothing."""

    loss: Array
    """in the losses of the policy"""
    learnt: Array
    """in a mean over the tokens that the policy learns from"""
    written: Array
    """in a mean over all tokens that it wrote"""


class Targets(NamedTuple):
    """What the losses need besides what the models say now: arrays [B, N] of episodes, or [R, T] at their places."""

    old_logprobs: Array | None
    """None, as with ``old_values`` = what the models say now, which have not moved"""
    ref_logprobs: Array | None
    sampler_logprobs: Array | None
    """in the distribution that tokens were drawn from; None = nothing is made of them"""
    old_values: Array | None
    advantages: Array
    returns: Array
    weights: Weights


def minibatch_targets(experience: Experience, rollout: RolloutBatch, rows: Rows, spec: StepSpec) -> Targets:
    """Of the episodes that stand in ``rows``, arrays [B, N]. Weights are made for a whole minibatch, so that it can be
    added up in parts; those of other episodes are 0."""
    average = partial(rl_losses.token_weights, length=spec.answer_length)
    here = standing_in(rows.sources, rollout.mask.shape)[:, None]
    return Targets(
        old_logprobs=experience.old_logprobs,
        ref_logprobs=experience.ref_logprobs,
        sampler_logprobs=None if spec.config.importance_cap is None else rollout.drawn_logprobs,
        old_values=experience.old_values,
        advantages=experience.advantages,
        returns=experience.returns,
        weights=Weights(
            loss=average(experience.mask & here, spec.config.loss_average) * rollout.weights,
            learnt=average(experience.mask & here, "tokens"),
            written=average(rollout.mask & here, "tokens"),
        ),
    )


class Said(NamedTuple):
    """What the models that learn say of some rows; None = they have not been asked."""

    policy: TokenScores | None
    values: Array | None
    """float32 [R, T]"""


def said_by(
    params: Params, part: MicroBatch, spec: StepSpec, statistics: Mapping[str, Statistic], actor_learns: bool = True
) -> Said:
    """What those models say that are in ``params``; an actor that does not learn reads nothing but for a critic on it.

    ``statistics`` are those of the policy's logits, see `policy_scores`.
    """
    hidden: Callable[[], jax.Array] = partial(hidden_states, params, part, spec)
    policy: TokenScores | None = None
    if "actor" in params and actor_learns:
        read = hidden()
        hidden, policy = (lambda: read), policy_scores(params, read, part, spec, statistics)
    return Said(policy, token_values(params, hidden, part, spec) if "critic" in params else None)


def entropy_of_updates(spec: StepSpec, told: bool) -> dict[str, Statistic]:
    """Of the policy, where something is made of it; differentiated only for the loss, else it is only ``told``."""
    if spec.config.entropy_coef is not None:
        return {"entropy": entropy}
    return {"entropy": lambda chunk: jax.lax.stop_gradient(entropy(chunk))} if told else {}


def loss_sum(
    params: Params, part: MicroBatch, targets: Targets, spec: StepSpec, kl_coef: jax.Array, actor_learns: bool = True
) -> tuple[jax.Array, Metrics]:
    """`losses_of` what those models that are in ``params`` say of some rows of a minibatch."""
    statistics = entropy_of_updates(spec, told=not scores_policy_first(spec))
    said = said_by(params, part, spec, statistics, actor_learns)
    return losses_of(said, targets, spec, kl_coef, "actor" in params)


def losses_of(
    said: Said, targets: Targets, spec: StepSpec, kl_coef: jax.Array, of_actor: bool
) -> tuple[jax.Array, Metrics]:
    """The sum of the losses of the models over some rows of a minibatch, and its parts.

    Where the actor does not learn, it is still the policy that was scored.

    Metrics, which add up over the parts of a minibatch: those of `policy_loss_sum`, ``of_actor``; and with a critic
    ``value_loss`` and ``value_clip_fraction``, the share of tokens whose gradient the clipping stops.
    """
    loss, metrics = policy_loss_sum(said.policy, targets, spec, kl_coef) if of_actor else (jnp.zeros(()), Metrics())
    if said.values is not None:
        config = spec.config
        old_values = jax.lax.stop_gradient(said.values) if targets.old_values is None else targets.old_values
        of_values = rl_losses.value_losses(said.values, old_values, targets.returns, config.value_clip)
        metrics["value_loss"] = rl_losses.weighted_sum(of_values.losses, targets.weights.written)
        metrics["value_clip_fraction"] = rl_losses.weighted_sum(of_values.clipped, targets.weights.written)
        loss += config.value_coef * metrics["value_loss"]
    return loss, metrics


def policy_loss_sum(
    scores: TokenScores | None, targets: Targets, spec: StepSpec, kl_coef: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The sum of the policy's losses over some rows; without ``scores`` it is still the policy that was scored.

    Metrics: the losses; ``clip_fraction``, the share of tokens whose gradient the clipping stops; ``approx_kl``, the k3
    estimate of KL(old || new) per token; ``found``, `PolicyTokens` for those who have not scored the policy first.
    """
    config, weights, weighted_sum = spec.config, targets.weights, rl_losses.weighted_sum
    entropies: jax.Array | None = None
    if scores is None:
        assert targets.old_logprobs is not None  # `scores_policy_first`
        logprobs = targets.old_logprobs
    else:
        logprobs, entropies = scores.log_probs, scores.statistics.get("entropy")
    old_logprobs = jax.lax.stop_gradient(logprobs) if targets.old_logprobs is None else targets.old_logprobs
    policy = rl_losses.policy_losses(
        logprobs, old_logprobs, targets.advantages, config.clip_low, config.clip_high, config.dual_clip
    )
    policy_loss = policy.losses
    if targets.sampler_logprobs is not None:
        policy_loss *= rl_losses.importance_weights(old_logprobs, targets.sampler_logprobs, config.importance_cap)
    loss = weighted_sum(policy_loss, weights.loss)
    metrics: Metrics = {
        "policy_loss": loss,
        "clip_fraction": weighted_sum(policy.clipped, weights.learnt),
        "approx_kl": weighted_sum(kl_estimate("k3", old_logprobs, logprobs), weights.learnt),
    }
    if config.kl_in == "loss" and targets.ref_logprobs is not None:
        kl = kl_estimate(config.kl_estimator, logprobs, targets.ref_logprobs)
        metrics["kl_loss"] = kl_coef * weighted_sum(kl, weights.loss)
        loss += metrics["kl_loss"]
    if config.entropy_coef is not None and entropies is not None:
        loss -= config.entropy_coef * weighted_sum(entropies, weights.loss)
    if not scores_policy_first(spec):
        assert scores is not None
        metrics["found"] = policy_tokens(scores)
    return loss, metrics


def policy_tokens(scores: TokenScores) -> PolicyTokens:
    """What is told of the policy; not differentiated."""
    return jax.lax.stop_gradient(PolicyTokens(scores.log_probs, scores.statistics["entropy"]))
