"""One step of reinforcement learning as a pure function: a rollout is scored, and actor and critic learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_jax.config import AlgorithmConfig
from tl_jax.data.batch import Array
from tl_jax.model.host_memory import is_in_host_memory
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.rl.advantages import masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.kl import adapted_kl_coef
from tl_jax.rl.minibatch_losses import Targets, loss_sum, minibatch_targets
from tl_jax.rl.parts import MicroBatch, at, by_updates, of_episodes, parts_of
from tl_jax.rl.rows import Rows
from tl_jax.rl.scores import Experience, Metrics, policy_metrics, score_rollout, scores_policy_first
from tl_jax.rl.state import RlState, StepSpec, with_base
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
    warm, config = state.step >= spec.config.critic_warmup, spec.config

    def update(carry: UpdateCarry) -> tuple[UpdateCarry, Metrics]:
        targets = minibatch_targets(experience, rows, spec)
        parts = Parts(parts_of(rows, experience.rollout), at(rows.sources, targets), rows.sources)
        metrics: Metrics = {}
        for names in learning_together(config):
            if metrics:  # what it reads is there only after the models before it have learnt
                trainable, parts = jax.lax.optimization_barrier((carry.trainable, parts))
                carry = carry._replace(trainable=trainable)
            learning = copies({name: carry.trainable[name] for name in names})
            of_parts = partial(gradient_of, learning, frozen, parts, state.kl_coef, spec, experience.mask.shape)
            if "actor" in names and config.has_critic and config.critic_warmup:
                gradient, found = jax.lax.cond(warm, partial(of_parts, True), partial(of_parts, False))
            else:
                gradient, found = of_parts(True)
            metrics |= found
            if "actor" in names:
                limit = config.target_kl
                stopped = jnp.array(False) if limit is None else metrics["approx_kl"] > limit
                metrics["grad_norm"] = optax.tree.norm(gradient["actor"])
                teaches = jnp.any(targets.weights.loss > 0) | ("critic" in names)  # values teach the actor, too
                metrics["learnt"] = ~stopped & teaches
            if "critic" in names:
                metrics["critic_grad_norm"] = optax.tree.norm(gradient["critic"])
            learns = {"actor": metrics["learnt"] & warm, "critic": ~stopped}
            carry = _apply(carry, gradient, spec, learns, key)
        return carry._replace(stopped=stopped), metrics

    if spec.config.target_kl is None:
        carry, metrics = update(carry)
        return carry, (jnp.array(True), metrics)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(update, carry)[1])
    seen = ~carry.stopped
    carry, metrics = jax.lax.cond(carry.stopped, lambda same: (same, nothing), update, carry)
    return carry, (seen, metrics)


def learning_together(config: AlgorithmConfig) -> tuple[tuple[str, ...], ...]:
    """The models whose losses have parameters in common, one such group after another, the actor's first.

    A critic of its own learns when the actor has learnt: activations and gradients of one of them are in memory then.
    """
    if not config.has_critic:
        return (("actor",),)
    return (("actor", "critic"),) if config.critic_backbone == "shared" else (("actor",), ("critic",))


class Parts(NamedTuple):
    """A minibatch as it is read, arrays [M, R, T]."""

    read: MicroBatch
    targets: Targets
    sources: Array


def gradient_of(
    learning: Params,
    frozen: Params,
    parts: Parts,
    kl_coef: jax.Array,
    spec: StepSpec,
    shape: tuple[int, ...],
    actor_learns: bool,
) -> tuple[Params, Metrics]:
    """Gradient and metrics of those models that learn together, over a minibatch of episodes with arrays of ``shape``,
    [B, N]. That of an actor that does not learn is 0, without being computed."""

    def loss(differentiated: Params, part: Parts) -> tuple[jax.Array, Metrics]:
        models = with_base(learning | differentiated, frozen)
        total, metrics = loss_sum(models, part.read, part.targets, spec, kl_coef, actor_learns)
        if "found" in metrics:
            metrics["found"] = of_episodes(part.sources, metrics["found"], shape)
        return total, metrics

    differentiated = {name: params for name, params in learning.items() if actor_learns or name != "actor"}
    gradient, metrics = add_up(
        lambda part: jax.grad(loss, has_aux=True)(differentiated, part), parts, lambda part: part.read.holds_anything
    )
    if not actor_learns:
        gradient["actor"] = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), learning["actor"])
    return gradient, metrics


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
