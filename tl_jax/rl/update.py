"""Updates of actor and critic on some episodes of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_jax.config import AlgorithmConfig
from tl_jax.model.host_memory import is_in_host_memory
from tl_jax.model.parameters import Params
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.dropout import with_dropout
from tl_jax.rl.gradients import Parts, gradient_of
from tl_jax.rl.minibatch_losses import (
    Said,
    Targets,
    entropy_of_updates,
    losses_of,
    minibatch_targets,
    policy_tokens,
    said_by,
)
from tl_jax.rl.parts import at, of_episodes, parts_of
from tl_jax.rl.rows import Rows
from tl_jax.rl.scores import (
    Experience,
    Metrics,
    Readings,
    experience_of,
    logprobs_of,
    policy_metrics,
    ref_model,
    scores_policy_first,
)
from tl_jax.rl.state import RlState, StepSpec, with_base
from tl_jax.training.stochastic_rounding import apply_updates
from tl_jax.training.tracing import with_shapes, zeros


class UpdateCarry(NamedTuple):
    """What one update hands on to the next."""

    trainable: Params
    opt_state: optax.OptState
    stopped: jax.Array
    """bool scalar: the policy has moved as far from the rollout's as ``target_kl`` lets it"""


def update_minibatch(
    carry: UpdateCarry,
    rows_and_key: tuple[Rows, jax.Array],
    *,
    state: RlState,
    rollout: RolloutBatch,
    experience: Experience,
    spec: StepSpec,
) -> tuple[UpdateCarry, tuple[jax.Array, Metrics]]:
    """One update of actor and critic on some episodes; nothing once ``carry`` has stopped.

    Args:
        carry: what the updates before this one made of ``state``'s trainable parameters.
        rows_and_key: the update's rows, arrays [M, R, T], and its own key.
        state: as it was before the first update.
        rollout: all of it.
        experience: of the whole rollout.
        spec: what the step is made of.

    Returns:
        the carry of the next update; whether the minibatch was looked at, and its metrics.
    """

    rows, key = rows_and_key
    copies = partial(in_compute_dtype, dtype=compute_dtype(spec.actor.graphdef, state.params["actor"]))
    frozen = copies(state.frozen)
    warm, config = state.step >= spec.config.critic_warmup, spec.config

    def update(carry: UpdateCarry) -> tuple[UpdateCarry, Metrics]:
        targets = minibatch_targets(experience, rollout, rows, spec)
        read, in_rows = parts_of(rows, rollout), at(rows.sources, targets)
        if spec.drops:
            before = with_base(copies(state.trainable), frozen)
            read, in_rows = with_dropout(read, in_rows, before, spec, key)
        parts = Parts(read, in_rows, rows.sources)
        metrics: Metrics = {}
        for names in learning_together(config):
            if metrics:  # what it reads is there only after the models before it have learnt
                trainable, parts = jax.lax.optimization_barrier((carry.trainable, parts))
                carry = carry._replace(trainable=trainable)
            learning = copies({name: carry.trainable[name] for name in names})
            gradient, found = gradient_of(learning, frozen, parts, warm, state.kl_coef, spec, experience.mask.shape)
            carry, metrics = _learn(carry, gradient, metrics | found, targets, warm, spec, key)
        return carry, metrics

    if spec.config.target_kl is None:
        carry, metrics = update(carry)
        return carry, (jnp.array(True), metrics)
    update, (_, shapes) = with_shapes(update, carry)
    seen = ~carry.stopped
    carry, metrics = jax.lax.cond(carry.stopped, lambda same: (same, zeros(shapes)), update, carry)
    return carry, (seen, metrics)


def learning_together(config: AlgorithmConfig) -> tuple[tuple[str, ...], ...]:
    """The models whose losses have parameters in common, one such group after another, the actor's first.

    A critic of its own learns when the actor has learnt: activations and gradients of one of them are in memory then.
    """
    if not config.has_critic:
        return (("actor",),)
    return (("actor", "critic"),) if config.critic_backbone == "shared" else (("actor",), ("critic",))


def only_update(
    carry: UpdateCarry, rows: Rows, key: jax.Array, state: RlState, rollout: RolloutBatch, spec: StepSpec
) -> tuple[UpdateCarry, Metrics]:
    """What `score_rollout` and `update_minibatch` do, with one reading by policy and critic (`learns_while_scoring`).

    A model has read, its gradient waits until the rollout is scored by what it said, and then it learns: the critic
    first, so that where nothing of the policy is needed for the scores, it reads when the critic has learnt.

    Args:
        carry: ``state``'s trainable parameters.
        rows: of all episodes, arrays [R, T].
        key: of the update.
        state: as it was before.
        rollout: that is scored and learnt from.
        spec: what the step is made of.

    Returns:
        what the update made of ``carry``, and the metrics of both.
    """
    config, part = spec.config, parts_of(rows, rollout)
    copies = partial(in_compute_dtype, dtype=compute_dtype(spec.actor.graphdef, state.params["actor"]))
    frozen, statistics = copies(state.frozen), entropy_of_updates(spec, told=True)
    in_order, scored = learning_together(config)[::-1], scores_policy_first(spec)

    def read(names: tuple[str, ...], trainable: Params) -> tuple[Said, Callable[[Said], tuple[Params]]]:
        """What these models say, and their gradient as a function of that of what they said."""
        learning = copies({name: trainable[name] for name in names})
        return jax.vjp(lambda learning: said_by(with_base(learning, frozen), part, spec, statistics), learning)

    ref = ref_model(state, spec)
    ref_logprobs = None if ref is None else logprobs_of(ref, part, spec)
    readings = {names: read(names, carry.trainable) for names in in_order if scored or "critic" in names}
    said = {name: readings[names][0] for names in readings for name in names}
    values = said["critic"].values if "critic" in said else None
    policy = said["actor"].policy if scored else None
    found = Readings(
        jnp.zeros(part.mask.shape) if values is None else values,
        None if policy is None else policy_tokens(policy),
        ref_logprobs,
    )
    experience, metrics = experience_of(of_episodes(rows.sources, found, rollout.mask.shape), state, rollout, spec)
    targets = minibatch_targets(experience, rollout, rows, spec)
    in_rows = at(rows.sources, targets)
    for names in in_order:
        if names not in readings:
            trainable, in_rows = jax.lax.optimization_barrier((carry.trainable, in_rows))
            carry = carry._replace(trainable=trainable)
            readings[names] = read(names, trainable)
        here, backward = readings.pop(names)
        losses = partial(losses_of, targets=in_rows, spec=spec, kl_coef=state.kl_coef, of_actor="actor" in names)
        given, learnt = jax.grad(losses, has_aux=True)(here)
        gradient = jax.tree.map(lambda x: x.astype(jnp.float32), backward(given)[0])
        carry, metrics = _learn(carry, gradient, metrics | learnt, targets, jnp.array(True), spec, key)
    if not scored:
        told = of_episodes(rows.sources, metrics.pop("found"), rollout.mask.shape)
        metrics |= policy_metrics(rollout, told, experience.ref_logprobs, metrics["score"], state.kl_coef, config)
    return carry, metrics


def _learn(
    carry: UpdateCarry,
    gradient: Params,
    metrics: Metrics,
    targets: Targets,
    warm: jax.Array,
    spec: StepSpec,
    key: jax.Array,
) -> tuple[UpdateCarry, Metrics]:
    """The update of those models that ``gradient`` has, unless the policy has moved too far.

    Args:
        carry: of what was learnt before.
        gradient: float32.
        metrics: of these models' losses, and of those that have learnt from the same minibatch before.
        targets: of the minibatch, arrays [B, N].
        warm: bool scalar, whether the actor learns yet.
        spec: what the step is made of.
        key: of the update.

    Returns:
        the carry, and the metrics with those of the gradients; ``learnt``, whether the actor's update is to be made.
    """
    limit = spec.config.target_kl
    moved = metrics.get("approx_kl", 0.0)  # a critic that learns first is never stopped: `learns_while_scoring`
    stopped = jnp.array(False) if limit is None else jnp.array(moved > limit)
    learns = {"critic": ~stopped}
    if "critic" in gradient:
        metrics = metrics | {"critic_grad_norm": optax.tree.norm(gradient["critic"])}
    if "actor" in gradient:
        teaches = jnp.any(targets.weights.loss > 0) | ("critic" in gradient)  # values teach the actor, too
        metrics = metrics | {"grad_norm": optax.tree.norm(gradient["actor"]), "learnt": ~stopped & teaches}
        learns["actor"] = metrics["learnt"] & warm
    return _apply(carry, gradient, spec, learns, key)._replace(stopped=stopped), metrics


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
