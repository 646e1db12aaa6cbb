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
from tl_jax.model.llama import Llama, merge
from tl_jax.model.sharding import constrain
from tl_jax.model.value import ValueModel, head_values
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.advantages import after_last, explained_variance, masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.estimators import EstimatorInputs, estimate
from tl_jax.rl.kl import adapted_kl_coef, kl_estimate
from tl_jax.rl.state import RlState, StepSpec, TrainableModel
from tl_jax.training.losses import Statistic, TokenScores, entropy, label_log_probs
from tl_jax.training.micro_batches import accumulate, join, split
from tl_jax.training.state import Params, fold_key

Metrics = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Experience:
    """A rollout with everything the losses need; arrays [B, N]."""

    rollout: RolloutBatch
    mask: Array
    """bool: tokens that the policy learns from"""
    old_logprobs: Array
    reference_logprobs: Array
    importance: Array
    """weights against the sampler's probabilities"""
    old_values: Array
    advantages: Array
    returns: Array


class UpdateCarry(NamedTuple):
    """What an update changes."""

    params: Params
    opt_state: optax.OptState
    critic: Params
    critic_opt_state: optax.OptState
    stopped: jax.Array
    """bool scalar: the policy has moved as far from the rollout's as ``target_kl`` lets it"""


def make_rl_step(setup: StepSpec) -> Callable[[RlState, RolloutBatch], tuple[RlState, Metrics]]:
    """A pure ``(state, rollout) -> (state, metrics)``: ``epochs`` passes of ``minibatches`` updates over the rollout,
    whose rows ``minibatches`` divides."""
    config = setup.config

    def step(state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        experience, metrics = score_rollout(state, rollout, setup)
        rows = shuffled_rows(jax.random.fold_in(fold_key(state), 1), rollout.tokens.shape[0], config)
        update = partial(
            update_minibatch,
            experience=experience,
            setup=setup,
            kl_coef=state.kl_coef,
            actor_learns=state.step >= config.critic_warmup,
        )
        learning = UpdateCarry(state.params, state.opt_state, state.critic, state.critic_opt_state, jnp.array(False))
        learning, (seen, of_updates) = jax.lax.scan(update, learning, rows)
        metrics |= jax.tree.map(partial(masked_mean, mask=seen), of_updates)
        metrics["updates"] = jnp.sum(seen) - learning.stopped
        metrics |= _rates(state.step, rows.shape[0], setup)
        kl_coef = adapted_kl_coef(state.kl_coef, metrics["kl_per_answer"], config.kl_target, config.kl_rate)
        return replace(
            state,
            step=state.step + 1,
            params=learning.params,
            opt_state=learning.opt_state,
            critic=learning.critic,
            critic_opt_state=learning.critic_opt_state,
            kl_coef=kl_coef,
        ), {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}

    return step


def _rates(step: jax.Array, updates: int, setup: StepSpec) -> Metrics:
    """UpdateCarry rates at the beginning of a rollout."""
    actor_steps = jnp.maximum(step - setup.config.critic_warmup, 0)
    rates = {"learning_rate": setup.actor.schedule(actor_steps * updates)}
    return rates | ({"critic_rate": setup.critic.schedule(step * updates)} if setup.config.has_critic else {})


def per_token_logps(
    params: Params,
    critic: Params,
    rollout: RolloutBatch,
    setup: StepSpec,
    statistics: Mapping[str, Statistic] | None = None,
) -> tuple[TokenScores, jax.Array]:
    """What the models think of a rollout's rows.

    Returns:
        the scores of the labels with ``statistics``, float32 [B, N], 0 outside the mask; and the critic's values,
        float32 [B, N]: what it expects before each column's label is written. They are 0 without a critic, or where
        ``critic`` is empty.
    """
    width = rollout.mask.shape[1]
    inputs = (rollout.tokens, rollout.positions, rollout.segment_ids)
    actor: Llama = merge(setup.actor.graphdef, params)
    hidden = actor.hidden(*inputs)[:, -width:]
    scores = label_log_probs(actor, hidden, rollout.labels, rollout.mask, statistics, temperature=setup.temperature)
    if not critic:
        return scores, jnp.zeros(rollout.mask.shape, jnp.float32)
    if setup.config.critic_backbone == "shared":
        return scores, head_values(hidden, critic["value_head"])
    model: ValueModel = merge(setup.critic.graphdef, critic)
    return scores, model.values(model.backbone.hidden(*inputs)[:, -width:])


def score_rollout(state: RlState, rollout: RolloutBatch, setup: StepSpec) -> tuple[Experience, Metrics]:
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
    config, mask = setup.config, rollout.mask

    def score(rows: RolloutBatch) -> tuple[jax.Array | None, ...]:
        policy, values = per_token_logps(state.params, state.critic, rows, setup, {"entropy": entropy})
        reference, _ = per_token_logps(state.reference, {}, rows, setup)
        return policy.log_probs, policy.statistics["entropy"], reference.log_probs, values

    parts = split(rollout, config.minibatches * config.accumulate)
    logprobs, entropies, reference, values = join(jax.lax.map(score, parts))
    kl = kl_estimate("k1", logprobs, reference)
    last_values = jnp.where(rollout.truncated & config.bootstrap_truncated, after_last(values, mask), 0.0)
    values = jnp.where(mask, values, 0.0)
    estimated = estimate(
        EstimatorInputs(
            rewards=rollout.rewards,
            weights=jnp.asarray(setup.reward_weights, jnp.float32),
            kl=kl,
            kl_coef=state.kl_coef,
            values=values,
            last_values=last_values,
            mask=mask,
            group_size=setup.group_size,
            config=config,
        )
    )
    importance = rl_losses.importance_weights(logprobs, rollout.logprobs, config.importance_cap)
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
    if setup.group_size > 1:
        metrics["equal_groups"] = jnp.mean(estimated.equal)
    learnt_from = mask & ~estimated.equal[:, None] if config.drop_equal_groups else mask
    experience = Experience(
        rollout=rollout,
        mask=learnt_from,
        old_logprobs=logprobs,
        reference_logprobs=reference,
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
    learning: UpdateCarry,
    rows: jax.Array,
    *,
    experience: Experience,
    setup: StepSpec,
    kl_coef: jax.Array,
    actor_learns: jax.Array,
) -> tuple[UpdateCarry, tuple[jax.Array, Metrics]]:
    """One update of actor and critic on some rows; nothing once ``learning`` has stopped.

    Returns:
        what was learnt; whether the minibatch was looked at, and its metrics.
    """

    def update(learning: UpdateCarry) -> tuple[UpdateCarry, Metrics]:
        batch = jax.tree.map(lambda x: _over_devices(x[rows]), experience)

        def gradient_and_metrics(part: tuple[Experience, Weights]) -> tuple[tuple[Params, Params], Metrics]:
            return jax.grad(loss_sum, argnums=(0, 1), has_aux=True)(
                learning.params, learning.critic, *part, setup, kl_coef
            )

        parts = (batch, minibatch_weights(batch, setup))
        gradient, metrics = accumulate(gradient_and_metrics, parts, setup.config.accumulate)
        metrics["grad_norm"] = optax.tree.norm(gradient[0])
        if setup.config.has_critic:
            metrics["critic_grad_norm"] = optax.tree.norm(gradient[1])
        limit = setup.config.target_kl
        stopped = jnp.array(False) if limit is None else metrics["approx_kl"] > limit
        return _apply(learning, gradient, setup, ~stopped & actor_learns, ~stopped)._replace(stopped=stopped), metrics

    if setup.config.target_kl is None:
        learning, metrics = update(learning)
        return learning, (jnp.array(True), metrics)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update, learning)[1])
    seen = ~learning.stopped
    learning, metrics = jax.lax.cond(learning.stopped, lambda same: (same, nothing), update, learning)
    return learning, (seen, metrics)


class Weights(NamedTuple):
    """What a token counts in the sums over a minibatch, float32 [B, N] each; 0 where it counts nothing."""

    loss: Array
    """in the losses of the policy"""
    learnt: Array
    """in a mean over the tokens that the policy learns from"""
    written: Array
    """in a mean over all tokens that it wrote"""


def minibatch_weights(batch: Experience, setup: StepSpec) -> Weights:
    """Made for a whole minibatch, so that it can be added up in parts."""
    config = setup.config
    weights = partial(rl_losses.token_weights, length=setup.answer_length)
    return Weights(
        loss=weights(batch.mask, config.loss_average),
        learnt=weights(batch.mask, "tokens"),
        written=weights(batch.rollout.mask, "tokens"),
    )


def loss_sum(
    params: Params, critic: Params, batch: Experience, weights: Weights, setup: StepSpec, kl_coef: jax.Array
) -> tuple[jax.Array, Metrics]:
    """The sum of the losses of policy and critic over some rows of a minibatch, and its parts.

    Metrics: the losses; ``clip_fraction`` and ``value_clip_fraction``, the share of tokens whose gradient the clipping
    stops; ``approx_kl``, the k3 estimate of KL(old || new) per token. All add up over the parts of a minibatch.
    """
    config, weighted_sum = setup.config, rl_losses.weighted_sum
    statistics = {} if config.entropy_coef is None else {"entropy": entropy}
    scores, values = per_token_logps(params, critic, batch.rollout, setup, statistics)
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
        kl = kl_estimate(config.kl_estimator, logprobs, batch.reference_logprobs)
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
    learning: UpdateCarry,
    gradient: tuple[Params, Params],
    setup: StepSpec,
    actor_learns: jax.Array,
    critic_learns: jax.Array,
) -> UpdateCarry:
    """Parameters and optimizer states after an update of those that learn."""
    params, opt_state = _updated(setup.actor, gradient[0], learning.params, learning.opt_state, actor_learns)
    critic, critic_opt_state = _updated(
        setup.critic, gradient[1], learning.critic, learning.critic_opt_state, critic_learns
    )
    return UpdateCarry(params, opt_state, critic, critic_opt_state, learning.stopped)


def _updated(
    learner: TrainableModel, gradient: Params, params: Params, opt_state: optax.OptState, learns: jax.Array
) -> tuple[Params, optax.OptState]:
    updates, new_state = learner.optimizer.update(gradient, opt_state, params)
    new = (optax.apply_updates(params, updates), new_state)
    return jax.tree.map(lambda after, before: jnp.where(learns, after, before), new, (params, opt_state))


def _over_devices(x: jax.Array) -> jax.Array:
    return constrain(x, "batch", *[None] * (x.ndim - 1))
