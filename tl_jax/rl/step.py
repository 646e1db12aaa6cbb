"""One step of reinforcement learning as pure functions: a rollout is scored, and actor and critic learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.rl.advantages import masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.kl import adapted_kl_coef
from tl_jax.rl.parts import by_updates
from tl_jax.rl.scores import (
    Metrics,
    ScoredRollout,
    learns_while_scoring,
    policy_metrics,
    score_rollout,
    scores_policy_first,
)
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.rl.update import UpdateCarry, only_update, update_minibatch
from tl_jax.training.optimizer import updates_made
from tl_jax.training.state import fold_key


class RlStep(NamedTuple):
    """A step in two parts, which may be programs of their own. Both are pure."""

    score: Callable[[RlState, RolloutBatch], ScoredRollout]
    """before the first update; what it tells goes on with it"""
    update: Callable[[RlState, RolloutBatch, ScoredRollout], tuple[RlState, Metrics]]
    """as many updates as the rollout has rows for, and what is told of the whole step"""


def make_rl_step(spec: StepSpec) -> Callable[[RlState, RolloutBatch], tuple[RlState, Metrics]]:
    """A pure ``(state, rollout) -> (state, metrics)`` of as many updates as the rollout has rows for.

    It is the parts of `split_rl_step` one after the other, or the only update, where that scores the rollout, too.
    """
    score, update = split_rl_step(spec)

    def step(state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        if not learns_while_scoring(spec, *rollout.rows.tokens.shape[1:3]):
            return update(state, rollout, score(state, rollout))
        state = _as_told(state, spec)
        rows, (key,) = by_updates(rollout.rows), jax.random.split(fold_key(state), 1)
        carry, metrics = only_update(_begun(state), jax.tree.map(lambda x: x[0, 0], rows), key, state, rollout, spec)
        metrics["updates"] = metrics.pop("learnt")
        return _ended(state, carry, metrics, 1, spec)

    return step


def split_rl_step(spec: StepSpec) -> RlStep:
    """The parts of a step whose rollout is scored before the first update."""
    config = spec.config

    def score(state: RlState, rollout: RolloutBatch) -> ScoredRollout:
        return score_rollout(_as_told(state, spec), rollout, spec)

    def update(state: RlState, rollout: RolloutBatch, scored: ScoredRollout) -> tuple[RlState, Metrics]:
        state = _as_told(state, spec)
        experience, metrics = scored.experience, dict(scored.metrics)
        rows = by_updates(rollout.rows)
        updates = len(rows.tokens)
        keys = jax.random.split(fold_key(state), updates)
        one = partial(update_minibatch, state=state, rollout=rollout, experience=experience, spec=spec)
        carry, (seen, of_updates) = jax.lax.scan(one, _begun(state), (rows, keys))
        if not scores_policy_first(spec):
            found = jax.tree.map(lambda x: jnp.sum(x[: config.minibatches], axis=0), of_updates.pop("found"))
            metrics |= policy_metrics(rollout, found, experience.ref_logprobs, metrics["score"], state.kl_coef, config)
        metrics["updates"] = jnp.sum(of_updates.pop("learnt"))
        metrics |= jax.tree.map(partial(masked_mean, mask=seen), of_updates)
        return _ended(state, carry, metrics, updates, spec)

    return RlStep(score, update)


def _as_told(state: RlState, spec: StepSpec) -> RlState:
    """The state with the weight of the KL; where it is fixed, a run that is continued may be told another."""
    told = spec.config.kl_target is None
    return replace(state, kl_coef=jnp.float32(spec.config.kl_coef)) if told else state


def _begun(state: RlState) -> UpdateCarry:
    return UpdateCarry(state.trainable, state.opt_state, jnp.array(False))


def _ended(
    state: RlState, carry: UpdateCarry, metrics: Metrics, updates: int, spec: StepSpec
) -> tuple[RlState, Metrics]:
    """The next state and all that is told, of the state before the updates and of what they made of it."""
    config, kl_coef = spec.config, state.kl_coef
    metrics = metrics | _rates(state, updates, spec)
    if config.kl_coef:
        adapted = adapted_kl_coef(kl_coef, metrics["kl_per_answer"], config.kl_target, config.kl_rate)
        learns = state.step >= config.critic_warmup  # else the KL is 0 whatever the coefficient
        kl_coef = jnp.where(learns, adapted, kl_coef)
    new = replace(state, step=state.step + 1, trainable=carry.trainable, opt_state=carry.opt_state, kl_coef=kl_coef)
    return new, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def _rates(state: RlState, updates: int, spec: StepSpec) -> Metrics:
    """Learning rates at the beginning of a rollout. Optimizers count the updates that were made, not those planned."""
    planned = {
        "actor": jnp.maximum(state.step - spec.config.critic_warmup, 0) * updates,
        "critic": state.step * updates,
    }
    made = {name: updates_made(opt_state, planned[name]) for name, opt_state in state.opt_state.items()}
    rates = {"learning_rate": spec.actor.schedule(made["actor"])}
    return rates | ({"critic_rate": spec.critic.schedule(made["critic"])} if spec.config.has_critic else {})
