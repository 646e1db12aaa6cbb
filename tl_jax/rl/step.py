"""One step of reinforcement learning as a pure function: a rollout is scored, and actor and critic learn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from tl_jax.rl.advantages import masked_mean
from tl_jax.rl.batch import RolloutBatch
from tl_jax.rl.kl import adapted_kl_coef
from tl_jax.rl.parts import by_updates
from tl_jax.rl.rows import Rows
from tl_jax.rl.scores import Metrics, learns_while_scoring, policy_metrics, score_rollout, scores_policy_first
from tl_jax.rl.state import RlState, StepSpec
from tl_jax.rl.update import UpdateCarry, only_update, update_minibatch
from tl_jax.training.optimizer import updates_made
from tl_jax.training.state import fold_key


def make_rl_step(spec: StepSpec) -> Callable[[RlState, RolloutBatch], tuple[RlState, Metrics]]:
    """A pure ``(state, rollout) -> (state, metrics)`` of as many updates as the rollout has rows for."""
    config = spec.config

    def step(state: RlState, rollout: RolloutBatch) -> tuple[RlState, Metrics]:
        if config.kl_target is None:  # where it is fixed, a run that is continued may be told another
            state = replace(state, kl_coef=jnp.float32(config.kl_coef))
        carry = UpdateCarry(state.trainable, state.opt_state, jnp.array(False))
        rows = by_updates(rollout.rows)
        updates, parts = rows.tokens.shape[:2]
        keys = jax.random.split(fold_key(state), updates)
        if learns_while_scoring(spec, updates, parts):
            carry, metrics = only_update(carry, jax.tree.map(lambda x: x[0, 0], rows), keys[0], state, rollout, spec)
            metrics["updates"] = metrics.pop("learnt")
        else:
            carry, metrics = _scored_first(carry, rows, keys, state, rollout, spec)
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


def _scored_first(
    carry: UpdateCarry, rows: Rows, keys: jax.Array, state: RlState, rollout: RolloutBatch, spec: StepSpec
) -> tuple[UpdateCarry, Metrics]:
    """The rollout is scored, and then come the updates, whose ``rows`` are [U, M, R, T]; ``keys`` are [U]."""
    config = spec.config
    experience, metrics = score_rollout(state, rollout, spec)
    update = partial(update_minibatch, state=state, experience=experience, spec=spec)
    carry, (seen, of_updates) = jax.lax.scan(update, carry, (rows, keys))
    if not scores_policy_first(spec):
        found = jax.tree.map(lambda x: jnp.sum(x[: config.minibatches], axis=0), of_updates.pop("found"))
        metrics |= policy_metrics(rollout, found, experience.ref_logprobs, metrics["score"], state.kl_coef, config)
    metrics["updates"] = jnp.sum(of_updates.pop("learnt"))
    return carry, metrics | jax.tree.map(partial(masked_mean, mask=seen), of_updates)


def _rates(state: RlState, updates: int, spec: StepSpec) -> Metrics:
    """Learning rates at the beginning of a rollout. Optimizers count the updates that were made, not those planned."""
    planned = {
        "actor": jnp.maximum(state.step - spec.config.critic_warmup, 0) * updates,
        "critic": state.step * updates,
    }
    made = {name: updates_made(opt_state, planned[name]) for name, opt_state in state.opt_state.items()}
    rates = {"learning_rate": spec.actor.schedule(made["actor"])}
    return rates | ({"critic_rate": spec.critic.schedule(made["critic"])} if spec.config.has_critic else {})
