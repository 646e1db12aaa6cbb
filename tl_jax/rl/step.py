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

from tl_jax.config import AlgorithmConfig
from tl_jax.data.batch import Array
from tl_jax.model.host_memory import is_in_host_memory
from tl_jax.model.llama import Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.sharding import constrain
from tl_jax.model.value import ValueModel, head_values
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.advantages import after_last, explained_variance, masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.estimators import EstimatorInputs, estimate
from tl_jax.rl.kl import adapted_kl_coef, kl_estimate
from tl_jax.rl.state import RlState, StepSpec, with_base
from tl_jax.training.losses import Statistic, TokenScores, entropy, label_log_probs
from tl_jax.training.micro_batches import accumulate, join, split
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
    """A pure ``(state, rollout) -> (state, metrics)``: ``epochs`` passes of ``minibatches`` updates over the rollout,
    whose rows ``minibatches`` divides."""
    config = spec.config

    def step(state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        experience, metrics = score_rollout(state, rollout, spec)
        rows = shuffled_rows(jax.random.fold_in(fold_key(state), 1), rollout.tokens.shape[0], config)
        update = partial(update_minibatch, state=state, experience=experience, spec=spec)
        carry = UpdateCarry(state.trainable, state.opt_state, jnp.array(False))
        keys = jax.random.split(fold_key(state), rows.shape[0])
        carry, (seen, of_updates) = jax.lax.scan(update, carry, (rows, keys))
        metrics["updates"] = jnp.sum(of_updates.pop("learnt"))
        metrics |= jax.tree.map(partial(masked_mean, mask=seen), of_updates)
        metrics |= _rates(state, rows.shape[0], spec)
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
    params: Params, rollout: RolloutBatch, spec: StepSpec, statistics: Mapping[str, Statistic] | None = None
) -> tuple[TokenScores, jax.Array]:
    """What the models think of a rollout's rows.

    Args:
        params: ``{"actor": ..., "critic": ...}``, or the actor's alone.
        rollout: B rows with labels [B, N].
        spec: the models, and the temperature of the log-probabilities.
        statistics: what else to compute of the policy's logits, see `label_log_probs`.

    Returns:
        the scores of the labels with ``statistics``, float32 [B, N], 0 outside the mask; and the critic's values,
        float32 [B, N]: what it expects before each column's label is written. They are 0 without a critic.
    """
    width = rollout.mask.shape[1]
    inputs = (rollout.tokens, rollout.positions, rollout.segment_ids)
    actor: Llama = merge(spec.actor.graphdef, params["actor"])
    hidden = actor.hidden(*inputs)[:, -width:]
    scores = label_log_probs(actor, hidden, rollout.labels, rollout.mask, statistics, temperature=spec.temperature)
    if "critic" not in params:
        return scores, jnp.zeros(rollout.mask.shape, jnp.float32)
    if spec.config.critic_backbone == "shared":
        return scores, head_values(hidden, params["critic"]["value_head"])
    critic: ValueModel = merge(spec.critic.graphdef, params["critic"])
    return scores, critic.values(critic.backbone.hidden(*inputs)[:, -width:])


def score_rollout(state: RlState, rollout: RolloutBatch, spec: StepSpec) -> tuple[Experience, Metrics]:
    """Log-probabilities, values and advantages before the first update, as many rows at a time as an update looks at.

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

    def score(rows: RolloutBatch) -> tuple[jax.Array | None, ...]:
        policy, values = per_token_logps(params, rows, spec, {"entropy": entropy})
        ref, _ = per_token_logps(ref_params, rows, spec)
        return policy.log_probs, policy.statistics["entropy"], ref.log_probs, values

    parts = split(rollout, config.minibatches * config.accumulate)
    logprobs, entropies, ref_logprobs, values = join(jax.lax.map(score, parts))
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


def shuffled_rows(key: jax.Array, rows: int, config: AlgorithmConfig) -> jax.Array:
    """int32 [epochs * minibatches, rows per minibatch]: each epoch visits every row once, in its own order."""
    keys = jax.random.split(key, config.epochs)
    orders = jax.vmap(lambda one: jax.random.permutation(one, rows))(keys)
    return orders.reshape(config.epochs * config.minibatches, -1)


def update_minibatch(
    carry: UpdateCarry,
    rows_and_key: tuple[jax.Array, jax.Array],
    *,
    state: RlState,
    experience: Experience,
    spec: StepSpec,
) -> tuple[UpdateCarry, tuple[jax.Array, Metrics]]:
    """One update of actor and critic on some rows; nothing once ``carry`` has stopped.

    Args:
        carry: what the updates before this one made of ``state``'s trainable parameters.
        rows_and_key: which rows of the rollout, and the update's own key.
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
        batch = jax.tree.map(lambda x: _over_devices(x[rows]), experience)

        def loss(trainable: Params, part: tuple[Experience, Weights]) -> tuple[jax.Array, Metrics]:
            return loss_sum(with_base(trainable, frozen), *part, spec, state.kl_coef)

        def gradient_and_metrics(part: tuple[Experience, Weights]) -> tuple[Params, Metrics]:
            return jax.grad(loss, has_aux=True)(trainable, part)

        parts = (batch, minibatch_weights(batch, spec))
        gradient, metrics = accumulate(gradient_and_metrics, parts, spec.config.accumulate)
        metrics["grad_norm"] = optax.tree.norm(gradient["actor"])
        if "critic" in gradient:
            metrics["critic_grad_norm"] = optax.tree.norm(gradient["critic"])
        limit = spec.config.target_kl
        stopped = jnp.array(False) if limit is None else metrics["approx_kl"] > limit
        shared = spec.config.has_critic and spec.config.critic_backbone == "shared"  # values teach the actor, too
        teaches = jnp.any(batch.mask & (batch.rollout.weights > 0)) | shared
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
    """What a token counts in the sums over a minibatch, float32 [B, N] each; 0 where it counts nothing."""

    loss: Array
    """in the losses of the policy"""
    learnt: Array
    """in a mean over the tokens that the policy learns from"""
    written: Array
    """in a mean over all tokens that it wrote"""


def minibatch_weights(batch: Experience, spec: StepSpec) -> Weights:
    """Made for a whole minibatch, so that it can be added up in parts."""
    config = spec.config
    weights = partial(rl_losses.token_weights, length=spec.answer_length)
    return Weights(
        loss=weights(batch.mask, config.loss_average) * batch.rollout.weights,
        learnt=weights(batch.mask, "tokens"),
        written=weights(batch.rollout.mask, "tokens"),
    )


def loss_sum(
    params: Params, batch: Experience, weights: Weights, spec: StepSpec, kl_coef: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The sum of the losses of policy and critic over some rows of a minibatch, and its parts.

    Metrics: the losses; ``clip_fraction`` and ``value_clip_fraction``, the share of tokens whose gradient the clipping
    stops; ``approx_kl``, the k3 estimate of KL(old || new) per token. All add up over the parts of a minibatch.
    """
    config, weighted_sum = spec.config, rl_losses.weighted_sum
    statistics = {} if config.entropy_coef is None else {"entropy": entropy}
    scores, values = per_token_logps(params, batch.rollout, spec, statistics)
    logprobs = scores.log_probs
    policy = rl_losses.policy_losses(
        logprobs, batch.old_logprobs, batch.advantages, config.clip_low, config.clip_high, config.dual_clip
    )
    loss = weighted_sum(batch.importance * policy.losses, weights.loss)
    metrics = {
        "policy_loss": loss,
        "clip_fraction": weighted_sum(policy.clipped, weights.learnt),
        "approx_kl": weighted_sum(kl_estimate("k3", batch.old_logprobs, logprobs), weights.learnt),
    }
    if config.kl_in == "loss":
        kl = kl_estimate(config.kl_estimator, logprobs, batch.ref_logprobs)
        metrics["kl_loss"] = kl_coef * weighted_sum(kl, weights.loss)
        loss += metrics["kl_loss"]
    if config.entropy_coef is not None:
        loss -= config.entropy_coef * weighted_sum(scores.statistics["entropy"], weights.loss)
    if config.has_critic:
        of_values = rl_losses.value_losses(values, batch.old_values, batch.returns, config.value_clip)
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


def _over_devices(x: jax.Array) -> jax.Array:
    return constrain(x, "batch", *[None] * (x.ndim - 1))
