"""One step of reinforcement learning as a pure function: a rollout is scored, and actor and critic learn from it.

Everything that says what the models think of an answer goes through `per_token_logps`, for old, new and reference model
alike, in float32 and at one temperature: with unchanged weights the ratio is 1 and the KL is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_jax.data.batch import Array
from tl_jax.model.host_memory import is_in_host_memory
from tl_jax.model.llama import Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.value import ValueModel, head_values
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.advantages import after_last, explained_variance, masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.estimators import EstimatorInputs, estimate
from tl_jax.rl.kl import adapted_kl_coef, kl_estimate
from tl_jax.rl.parts import MicroBatch, at, by_updates, parts_of, read_once, standing_in
from tl_jax.rl.rows import Rows
from tl_jax.rl.state import RlState, StepSpec, with_base
from tl_jax.training.losses import Statistic, TokenScores, entropy, label_log_probs
from tl_jax.training.micro_batches import add_up
from tl_jax.training.optimizer import updates_made
from tl_jax.training.state import fold_key
from tl_jax.training.stochastic_rounding import apply_updates

Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Experience:
    """A rollout with everything the losses need; arrays [B, N]."""

    rollout: RolloutBatch
    mask: Array
    """bool: tokens that the policy learns from"""
    old_logprobs: Array
    ref_logprobs: Array
    """of the reference policy"""
    importance: Array
    """weights against the sampler's probabilities"""
    old_values: Array
    advantages: Array
    returns: Array


class UpdateCarry(NamedTuple):
    """What one update hands on to the next."""

    trainable: Params
    opt_state: optax.OptState
    stopped: jax.Array
    """bool scalar: the policy has moved as far from the rollout's as ``target_kl`` lets it"""


def make_rl_step(spec: StepSpec) -> Callable[[RlState, RolloutBatch], tuple[RlState, Metrics]]:
    """A pure ``(state, rollout) -> (state, metrics)`` of as many updates as the rollout has rows for."""
    config = spec.config

    def step(state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        experience, metrics = score_rollout(state, rollout, spec)
        update = partial(update_minibatch, state=state, experience=experience, spec=spec)
        carry = UpdateCarry(state.trainable, state.opt_state, jnp.array(False))
        rows = by_updates(rollout.rows)
        updates = rows.tokens.shape[0]
        keys = jax.random.split(fold_key(state), updates)
        carry, (seen, of_updates) = jax.lax.scan(update, carry, (rows, keys))
        metrics["updates"] = jnp.sum(of_updates.pop("learnt"))
        metrics |= jax.tree.map(partial(masked_mean, mask=seen), of_updates)
        metrics |= _rates(state, updates, spec)
        adapted = adapted_kl_coef(state.kl_coef, metrics["kl_per_answer"], config.kl_target, config.kl_rate)
        learns = state.step >= config.critic_warmup  # else the KL is 0 whatever the coefficient
        new = replace(
            state,
            step=state.step + 1,
            trainable=carry.trainable,
            opt_state=carry.opt_state,
            kl_coef=jnp.where(learns, adapted, state.kl_coef),
        )
        return new, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}

    return step


def _rates(state: RlState, updates: int, spec: StepSpec) -> Metrics:
    """Learning rates at the beginning of a rollout. Optimizers count the updates that were made, not those planned."""
    planned = {
        "actor": jnp.maximum(state.step - spec.config.critic_warmup, 0) * updates,
        "critic": state.step * updates,
    }
    made = {name: updates_made(opt_state, planned[name]) for name, opt_state in state.opt_state.items()}
    rates = {"learning_rate": spec.actor.schedule(made["actor"])}
    return rates | ({"critic_rate": spec.critic.schedule(made["critic"])} if spec.config.has_critic else {})


def per_token_logps(
    params: Params, part: MicroBatch, spec: StepSpec, statistics: Mapping[str, Statistic] | None = None
) -> tuple[TokenScores, jax.Array]:
    """What the models think of what was written.

    Args:
        params: ``{"actor": ..., "critic": ...}``, or the actor's alone.
        part: rows with labels [R, T].
        spec: the models, and the temperature of the log-probabilities.
        statistics: what else to compute of the policy's logits, see `label_log_probs`.

    Returns:
        the scores of the labels with ``statistics``, float32 [R, T], 0 outside the mask; and the critic's values,
        float32 [R, T]: what it expects after reading each token. They are 0 without a critic.
    """
    actor: Llama = merge(spec.actor.graphdef, params["actor"])
    hidden = actor.hidden(*part.inputs)
    scores = label_log_probs(actor, hidden, part.labels, part.mask, statistics, temperature=spec.temperature)
    if "critic" not in params:
        return scores, jnp.zeros(part.mask.shape, jnp.float32)
    if spec.config.critic_backbone == "shared":
        return scores, head_values(hidden, params["critic"]["value_head"])
    critic: ValueModel = merge(spec.critic.graphdef, params["critic"])
    return scores, critic.values(critic.backbone.hidden(*part.inputs))


def score_rollout(state: RlState, rollout: RolloutBatch, spec: StepSpec) -> tuple[Experience, Metrics]:
    """Log-probabilities, values and advantages before the first update, in the rows of the first epoch's updates.

    Metrics; a mean over tokens is over the tokens the policy wrote, EOS included, of the whole rollout:
        score: mean of the episodes' rewards, as they enter the advantages.
        kl, kl_per_answer: ``log pi - log ref`` as a mean over tokens, and summed over each episode.
        kl_coef: the weight of the KL in this step.
        reward_with_kl: mean of ``score - kl_coef * (sum of log pi - log ref)``, the objective.
        entropy: of the policy in nats, a mean over tokens.
        sampler_drift, sampler_drift_max: mean and maximum of ``|log pi - log p|`` with p as the sampler reports it:
            rounding, or where ``logprob_temperature`` is another one, how far off-policy the samples are.
        importance: with ``importance_cap``, the mean weight.
        value, explained_variance: with a critic, mean of its values; 1 - Var(returns - values) / Var(returns).
        equal_groups: with groups, the share of those whose answers all earned the same.
    """
    config, mask = spec.config, rollout.mask
    copies = partial(in_compute_dtype, dtype=compute_dtype(spec.actor.graphdef, state.params["actor"]))
    params, ref_params = copies(state.params), {"actor": copies(spec.ref_params(state))}

    def score(part: MicroBatch) -> tuple[jax.Array, ...]:
        policy, values = per_token_logps(params, part, spec, {"entropy": entropy})
        ref, _ = per_token_logps(ref_params, part, spec)
        return policy.log_probs, policy.statistics["entropy"], ref.log_probs, values

    logprobs, entropies, ref_logprobs, values = read_once(score, rollout, config.minibatches)
    kl = kl_estimate("k1", logprobs, ref_logprobs)
    last_values = jnp.where(rollout.cut_off & config.bootstrap_truncated, after_last(values, mask), 0.0)
    values = jnp.where(mask, values, 0.0)
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
    importance = rl_losses.importance_weights(logprobs, rollout.drawn_logprobs, config.importance_cap)
    drift = jnp.where(mask, jnp.abs(logprobs - rollout.logprobs), 0.0)
    kl_per_answer = jnp.mean(jnp.sum(jnp.where(mask, kl, 0.0), axis=1))
    metrics = {
        "score": jnp.mean(estimated.scores),
        "reward_with_kl": jnp.mean(estimated.scores) - state.kl_coef * kl_per_answer,
        "kl": masked_mean(kl, mask),
        "kl_per_answer": kl_per_answer,
        "kl_coef": state.kl_coef,
        "entropy": masked_mean(entropies, mask),
        "sampler_drift": masked_mean(drift, mask),
        "sampler_drift_max": jnp.max(drift),
    }
    if config.importance_cap is not None:
        metrics["importance"] = masked_mean(importance, mask)
    if config.has_critic:
        metrics["explained_variance"] = explained_variance(values, estimated.returns, mask)
        metrics["value"] = masked_mean(values, mask)
    if spec.group_size > 1:
        metrics["equal_groups"] = jnp.mean(estimated.equal)
    learnt_from = mask & (rollout.weights > 0)
    if config.drop_equal_groups:
        learnt_from &= ~estimated.equal[:, None]
    experience = Experience(
        rollout=rollout,
        mask=learnt_from,
        old_logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        importance=importance,
        old_values=values,
        advantages=estimated.advantages,
        returns=estimated.returns,
    )
    return experience, metrics


def update_minibatch(
    carry: UpdateCarry,
    rows_and_key: tuple[Rows, jax.Array],
    *,
    state: RlState,
    experience: Experience,
    spec: StepSpec,
) -> tuple[UpdateCarry, tuple[jax.Array, Metrics]]:
    """One update of actor and critic on some episodes; nothing once ``carry`` has stopped.

    Args:
        carry: what the updates before this one made of ``state``'s trainable parameters.
        rows_and_key: the update's rows, arrays [M, R, T], and its own key.
        state: as it was before the first update.
        experience: the whole rollout.
        spec: what the step is made of.

    Returns:
        the carry of the next update; whether the minibatch was looked at, and its metrics.
    """

    rows, key = rows_and_key
    copies = partial(in_compute_dtype, dtype=compute_dtype(spec.actor.graphdef, state.params["actor"]))
    frozen = copies(state.frozen)

    def update(carry: UpdateCarry) -> tuple[UpdateCarry, Metrics]:
        trainable = copies(carry.trainable)
        targets = minibatch_targets(experience, rows, spec)

        def loss(trainable: Params, part: tuple[MicroBatch, Targets]) -> tuple[jax.Array, Metrics]:
            return loss_sum(with_base(trainable, frozen), *part, spec, state.kl_coef)

        def gradient_and_metrics(part: tuple[MicroBatch, Targets]) -> tuple[Params, Metrics]:
            return jax.grad(loss, has_aux=True)(trainable, part)

        parts = parts_of(rows, experience.rollout), at(rows.sources, targets)
        gradient, metrics = add_up(gradient_and_metrics, parts, lambda part: part[0].holds_anything)
        metrics["grad_norm"] = optax.tree.norm(gradient["actor"])
        if "critic" in gradient:
            metrics["critic_grad_norm"] = optax.tree.norm(gradient["critic"])
        limit = spec.config.target_kl
        stopped = jnp.array(False) if limit is None else metrics["approx_kl"] > limit
        shared = spec.config.has_critic and spec.config.critic_backbone == "shared"  # values teach the actor, too
        teaches = jnp.any(targets.weights.loss > 0) | shared
        metrics["learnt"] = ~stopped & teaches
        learns = {"actor": metrics["learnt"] & (state.step >= spec.config.critic_warmup), "critic": ~stopped}
        return _apply(carry, gradient, spec, learns, key)._replace(stopped=stopped), metrics

    if spec.config.target_kl is None:
        carry, metrics = update(carry)
        return carry, (jnp.array(True), metrics)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update, carry)[1])
    seen = ~carry.stopped
    carry, metrics = jax.lax.cond(carry.stopped, lambda same: (same, nothing), update, carry)
    return carry, (seen, metrics)


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

    old_logprobs: Array
    ref_logprobs: Array
    importance: Array
    old_values: Array
    advantages: Array
    returns: Array
    weights: Weights


def minibatch_targets(experience: Experience, rows: Rows, spec: StepSpec) -> Targets:
    """Of the episodes that stand in ``rows``, arrays [B, N]. Weights are made for a whole minibatch, so that it can be
    added up in parts; those of other episodes are 0."""
    rollout, average = experience.rollout, partial(rl_losses.token_weights, length=spec.answer_length)
    here = standing_in(rows.sources, rollout.mask.shape)[:, None]
    return Targets(
        old_logprobs=experience.old_logprobs,
        ref_logprobs=experience.ref_logprobs,
        importance=experience.importance,
        old_values=experience.old_values,
        advantages=experience.advantages,
        returns=experience.returns,
        weights=Weights(
            loss=average(experience.mask & here, spec.config.loss_average) * rollout.weights,
            learnt=average(experience.mask & here, "tokens"),
            written=average(rollout.mask & here, "tokens"),
        ),
    )


def loss_sum(
    params: Params, part: MicroBatch, targets: Targets, spec: StepSpec, kl_coef: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The sum of the losses of policy and critic over some rows of a minibatch, and its parts.

    Metrics: the losses; ``clip_fraction`` and ``value_clip_fraction``, the share of tokens whose gradient the clipping
    stops; ``approx_kl``, the k3 estimate of KL(old || new) per token. All add up over the parts of a minibatch.
    """
    config, weights, weighted_sum = spec.config, targets.weights, rl_losses.weighted_sum
    statistics = {} if config.entropy_coef is None else {"entropy": entropy}
    scores, values = per_token_logps(params, part, spec, statistics)
    logprobs = scores.log_probs
    policy = rl_losses.policy_losses(
        logprobs, targets.old_logprobs, targets.advantages, config.clip_low, config.clip_high, config.dual_clip
    )
    loss = weighted_sum(targets.importance * policy.losses, weights.loss)
    metrics = {
        "policy_loss": loss,
        "clip_fraction": weighted_sum(policy.clipped, weights.learnt),
        "approx_kl": weighted_sum(kl_estimate("k3", targets.old_logprobs, logprobs), weights.learnt),
    }
    if config.kl_in == "loss":
        kl = kl_estimate(config.kl_estimator, logprobs, targets.ref_logprobs)
        metrics["kl_loss"] = kl_coef * weighted_sum(kl, weights.loss)
        loss += metrics["kl_loss"]
    if config.entropy_coef is not None:
        loss -= config.entropy_coef * weighted_sum(scores.statistics["entropy"], weights.loss)
    if config.has_critic:
        of_values = rl_losses.value_losses(values, targets.old_values, targets.returns, config.value_clip)
        metrics["value_loss"] = weighted_sum(of_values.losses, weights.written)
        metrics["value_clip_fraction"] = weighted_sum(of_values.clipped, weights.written)
        loss += config.value_coef * metrics["value_loss"]
    return loss, metrics


def _apply(
    carry: UpdateCarry, gradient: Params, spec: StepSpec, learns: dict[str, jax.Array], key: jax.Array
) -> UpdateCarry:
    """Parameters and optimizer states after an update of those models that learn, each by its own optimizer."""
    trainable, opt_state = dict(carry.trainable), dict(carry.opt_state)
    for index, (name, model) in enumerate((("actor", spec.actor), ("critic", spec.critic))):
        if name in gradient:
            before = (trainable[name], opt_state[name])
            optimizer = optax.with_extra_args_support(model.optimizer)
            updates, moments = optimizer.update(gradient[name], opt_state[name], trainable[name], learns=learns[name])
            after = (apply_updates(trainable[name], updates, jax.random.fold_in(key, index)), moments)
            trainable[name], opt_state[name] = jax.tree.map(partial(_chosen, learns[name]), after, before)
    return carry._replace(trainable=trainable, opt_state=opt_state)


def _chosen(learns: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return new if is_in_host_memory(new) else jnp.where(learns, new, old)  # there `from_host` has chosen
