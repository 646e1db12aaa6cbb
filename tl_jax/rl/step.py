"""One step of reinforcement learning as a pure function: a rollout is scored, and actor and critic learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_jax.data.batch import Array
from tl_jax.model.host_memory import is_in_host_memory
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.rl import losses as rl_losses
from tl_jax.rl.advantages import masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.kl import adapted_kl_coef, kl_estimate
from tl_jax.rl.parts import MicroBatch, at, by_updates, of_episodes, parts_of, standing_in
from tl_jax.rl.rows import Rows
from tl_jax.rl.scores import (
    Experience,
    Metrics,
    PolicyTokens,
    hidden_states,
    per_token_logps,
    policy_metrics,
    score_rollout,
    scores_policy_first,
    token_values,
)
from tl_jax.rl.state import RlState, StepSpec, with_base
from tl_jax.training.losses import Statistic, entropy
from tl_jax.training.micro_batches import add_up
from tl_jax.training.optimizer import updates_made
from tl_jax.training.state import fold_key
from tl_jax.training.stochastic_rounding import apply_updates


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
        if config.kl_target is None:  # where it is fixed, a run that is continued may be told another
            state = replace(state, kl_coef=jnp.float32(config.kl_coef))
        experience, metrics = score_rollout(state, rollout, spec)
        update = partial(update_minibatch, state=state, experience=experience, spec=spec)
        carry = UpdateCarry(state.trainable, state.opt_state, jnp.array(False))
        rows = by_updates(rollout.rows)
        updates = rows.tokens.shape[0]
        keys = jax.random.split(fold_key(state), updates)
        carry, (seen, of_updates) = jax.lax.scan(update, carry, (rows, keys))
        if not scores_policy_first(config):
            found = jax.tree.map(lambda x: jnp.sum(x[: config.minibatches], axis=0), of_updates.pop("found"))
            metrics |= policy_metrics(rollout, found, experience.ref_logprobs, metrics["score"], state.kl_coef, config)
        metrics["updates"] = jnp.sum(of_updates.pop("learnt"))
        metrics |= jax.tree.map(partial(masked_mean, mask=seen), of_updates)
        metrics |= _rates(state, updates, spec)
        kl_coef = state.kl_coef
        if config.kl_coef:
            adapted = adapted_kl_coef(kl_coef, metrics["kl_per_answer"], config.kl_target, config.kl_rate)
            learns = state.step >= config.critic_warmup  # else the KL is 0 whatever the coefficient
            kl_coef = jnp.where(learns, adapted, kl_coef)
        new = replace(
            state,
            step=state.step + 1,
            trainable=carry.trainable,
            opt_state=carry.opt_state,
            kl_coef=kl_coef,
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
    warm = state.step >= spec.config.critic_warmup

    def update(carry: UpdateCarry) -> tuple[UpdateCarry, Metrics]:
        trainable = copies(carry.trainable)
        targets = minibatch_targets(experience, rows, spec)
        parts = Parts(parts_of(rows, experience.rollout), at(rows.sources, targets), rows.sources)
        of_parts = partial(gradient_of, trainable, frozen, parts, state.kl_coef, spec, experience.mask.shape)
        if spec.config.has_critic and spec.config.critic_warmup:
            gradient, metrics = jax.lax.cond(warm, partial(of_parts, True), partial(of_parts, False))
        else:
            gradient, metrics = of_parts(True)
        metrics["grad_norm"] = optax.tree.norm(gradient["actor"])
        if "critic" in gradient:
            metrics["critic_grad_norm"] = optax.tree.norm(gradient["critic"])
        limit = spec.config.target_kl
        stopped = jnp.array(False) if limit is None else metrics["approx_kl"] > limit
        shared = spec.config.has_critic and spec.config.critic_backbone == "shared"  # values teach the actor, too
        teaches = jnp.any(targets.weights.loss > 0) | shared
        metrics["learnt"] = ~stopped & teaches
        learns = {"actor": metrics["learnt"] & warm, "critic": ~stopped}
        return _apply(carry, gradient, spec, learns, key)._replace(stopped=stopped), metrics

    if spec.config.target_kl is None:
        carry, metrics = update(carry)
        return carry, (jnp.array(True), metrics)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update, carry)[1])
    seen = ~carry.stopped
    carry, metrics = jax.lax.cond(carry.stopped, lambda same: (same, nothing), update, carry)
    return carry, (seen, metrics)


class Parts(NamedTuple):
    """A minibatch as it is read, arrays [M, R, T]."""

    read: MicroBatch
    targets: Targets
    sources: Array


def gradient_of(
    trainable: Params,
    frozen: Params,
    parts: Parts,
    kl_coef: jax.Array,
    spec: StepSpec,
    shape: tuple[int, ...],
    actor_learns: bool,
) -> tuple[Params, Metrics]:
    """Gradient and metrics of a minibatch of episodes with arrays of ``shape``, [B, N]. That of an actor that does not
    learn is 0, without being computed."""

    def loss(learning: Params, part: Parts) -> tuple[jax.Array, Metrics]:
        models = with_base(trainable | learning, frozen)
        total, metrics = loss_sum(models, part.read, part.targets, spec, kl_coef, actor_learns)
        if "found" in metrics:
            metrics["found"] = of_episodes(part.sources, metrics["found"], shape)
        return total, metrics

    learning = {name: params for name, params in trainable.items() if actor_learns or name != "actor"}
    gradient, metrics = add_up(
        lambda part: jax.grad(loss, has_aux=True)(learning, part), parts, lambda part: part.read.holds_anything
    )
    if not actor_learns:
        gradient["actor"] = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), trainable["actor"])
    return gradient, metrics


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
    ref_logprobs: Array | None
    sampler_logprobs: Array | None
    """in the distribution that tokens were drawn from; None = nothing is made of them"""
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


def loss_sum(
    params: Params, part: MicroBatch, targets: Targets, spec: StepSpec, kl_coef: jax.Array, actor_learns: bool = True
) -> tuple[jax.Array, Metrics]:
    """The sum of the losses of policy and critic over some rows of a minibatch, and its parts.

    Where the actor does not learn, it is still the policy that was scored, and reads nothing but for a critic on it.

    Metrics: the losses; ``clip_fraction`` and ``value_clip_fraction``, the share of tokens whose gradient the clipping
    stops; ``approx_kl``, the k3 estimate of KL(old || new) per token. All add up over the parts of a minibatch, as does
    ``found``, `PolicyTokens` for those who have not scored the policy first.
    """
    config, weights, weighted_sum = spec.config, targets.weights, rl_losses.weighted_sum
    scored = scores_policy_first(config)
    if actor_learns:
        statistics: dict[str, Statistic] = {}
        if config.entropy_coef is not None:
            statistics["entropy"] = entropy
        elif not scored:  # it is only told
            statistics["entropy"] = lambda chunk: jax.lax.stop_gradient(entropy(chunk))
        scores, values = per_token_logps(params, part, spec, statistics)
        logprobs, entropies = scores.log_probs, scores.statistics.get("entropy")
    else:
        values = token_values(params, lambda: hidden_states(params, part, spec), part, spec)
        assert targets.old_logprobs is not None  # `scores_policy_first`
        logprobs, entropies = targets.old_logprobs, None
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
    if not scored:
        assert entropies is not None
        metrics["found"] = jax.lax.stop_gradient(PolicyTokens(logprobs, entropies))
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
