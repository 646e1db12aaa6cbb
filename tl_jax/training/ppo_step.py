"""One PPO step as a pure function: a rollout is scored, and actor and critic learn from it.

Everything that says what the models think of an answer goes through `score_answers` and `values_of`, for old, new and
reference model alike, in float32 and at one temperature: with unchanged weights the ratio is 1 and the KL is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from tl_jax.config import PpoAlgorithmConfig
from tl_jax.data.batch import Array
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import GraphDef, Llama, init_params, merge
from tl_jax.model.sharding import constrain, param_shardings, replicated
from tl_jax.model.value import ValueModel, value_params
from tl_jax.training import rl
from tl_jax.training.checkpoint import abstract
from tl_jax.training.losses import Loss, TokenScores, label_log_probs
from tl_jax.training.rollout import Rollout
from tl_jax.training.state import Params, TrainState, fold_key

Metrics = dict[str, jax.Array]
Tree = TypeVar("Tree")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PpoState(TrainState):
    """``params`` and ``opt_state`` are the actor's, so that a run directory opens as the actor; ``step`` counts
    rollouts."""

    critic: Params
    critic_opt_state: optax.OptState
    reference: Params
    """the actor as it was at first; never changes"""


class Learner(NamedTuple):
    """A model's description and how it learns."""

    graphdef: GraphDef
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Experience:
    """A rollout with everything the losses need; arrays [B, N]."""

    rollout: Rollout
    old_logprobs: Array
    old_values: Array
    advantages: Array
    returns: Array


def init_ppo_state(
    params: Params, model: LlamaConfig, actor: Learner, critic: Learner, config: PpoAlgorithmConfig, seed: int
) -> PpoState:
    """The state before the first rollout; ``params`` become the actor and the reference.

    The critic's tower starts from ``params`` or at random (``critic_init``); its head is 0, so that it starts by
    expecting nothing.
    """
    key = jax.random.key(seed)
    tower = params
    if config.critic_init == "random":
        tower = init_params(model, jax.random.fold_in(key, 0), params["norm"].dtype, lm_head=False)
    critic_params = value_params(tower)
    return PpoState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=actor.optimizer.init(params),
        key=jax.random.key_data(key),
        critic=critic_params,
        critic_opt_state=critic.optimizer.init(critic_params),
        reference=params,
    )


def abstract_ppo_state(init: Callable[[Params], PpoState], params: Params, mesh: Mesh) -> PpoState:
    """Shapes and places of the state that ``init`` makes of ``params`` (shapes suffice)."""
    shapes = jax.eval_shape(init, params)
    places = replace(param_shardings(replace(shapes, key=None), mesh), key=replicated(mesh))
    return abstract(shapes, places)


def start_ppo_state(init: Callable[[Params], PpoState], params: Params, mesh: Mesh) -> PpoState:
    """``init(params)``, each array made where it lies. ``params`` are used up."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_ppo_state(init, params, mesh))
    state: PpoState = jax.jit(init, out_shardings=places, donate_argnums=0)(params)
    return state


def make_ppo_step(
    actor: Learner, critic: Learner, config: PpoAlgorithmConfig, temperature: float
) -> Callable[[PpoState, Rollout], tuple[PpoState, Metrics]]:
    """A pure ``(state, rollout) -> (state, metrics)``: ``epochs`` passes of ``minibatches`` updates over the rollout.

    Args:
        actor: of a `Llama`.
        critic: of a `ValueModel`.
        config: the terms of the algorithm; ``minibatches`` divides the rows of a rollout.
        temperature: of the log-probabilities.
    """

    def step(state: PpoState, rollout: Rollout) -> tuple[PpoState, Metrics]:
        experience, metrics = score_rollout(state, rollout, actor.graphdef, critic.graphdef, config, temperature)
        rows = shuffled_rows(jax.random.fold_in(fold_key(state), 1), rollout.tokens.shape[0], config)
        update = partial(
            update_minibatch, experience=experience, actor=actor, critic=critic, config=config, temperature=temperature
        )
        learning = (state.params, state.opt_state, state.critic, state.critic_opt_state)
        learning, of_updates = jax.lax.scan(update, learning, rows)
        metrics |= jax.tree.map(jnp.mean, of_updates)
        updates_before = state.step * rows.shape[0]
        metrics |= {"learning_rate": actor.schedule(updates_before), "critic_rate": critic.schedule(updates_before)}
        params, opt_state, critic_params, critic_opt_state = learning
        return replace(
            state, step=state.step + 1, params=params, opt_state=opt_state, critic=critic_params,
            critic_opt_state=critic_opt_state,
        ), {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}  # fmt: skip

    return step


def score_answers(model: Llama, rollout: Rollout, temperature: float, entropy: bool = False) -> TokenScores:
    """Log-probabilities [B, N] of the answers' tokens, float32, 0 outside the mask."""
    width = rollout.mask.shape[1]
    hidden = model.hidden(rollout.tokens, rollout.positions, rollout.segment_ids)[:, -width - 1 : -1]
    labels = rollout.tokens[:, -width:]
    return label_log_probs(model, hidden, labels, rollout.mask, temperature=temperature, entropy=entropy)


def values_of(model: ValueModel, rollout: Rollout) -> jax.Array:
    """Float32 [B, N]: what is expected before each token of the answer is written; 0 outside the mask."""
    width = rollout.mask.shape[1]
    hidden = model.tower.hidden(rollout.tokens, rollout.positions, rollout.segment_ids)[:, -width - 1 : -1]
    return jnp.where(rollout.mask, model.values(hidden), 0.0)


def score_rollout(
    state: PpoState, rollout: Rollout, actor: GraphDef, critic: GraphDef, config: PpoAlgorithmConfig, temperature: float
) -> tuple[Experience, Metrics]:
    """Log-probabilities, values, rewards and advantages before the first update, a minibatch of rows at a time.

    Metrics; a mean over tokens is over the answers' tokens, EOS included, of the whole rollout:
        score: mean of the answers' scores, as they enter the advantages.
        kl, kl_per_answer: ``log pi - log ref`` as a mean over tokens, and summed over each answer.
        reward_with_kl: mean of ``score - kl_coef * (sum of log pi - log ref)``, what PPO maximises.
        entropy: of the policy in nats, a mean over tokens.
        sampler_drift, sampler_drift_max: mean and maximum of ``|log pi - log p|`` with p as the sampler reports it:
            rounding, or where ``logprob_temperature`` is another one, how far off-policy the samples are.
        value, explained_variance: mean of the critic's values; 1 - Var(returns - values) / Var(returns).
    """

    def score(rows: Rollout) -> tuple[jax.Array | None, ...]:
        policy = score_answers(merge(actor, state.params), rows, temperature, entropy=True)
        reference = score_answers(merge(actor, state.reference), rows, temperature)
        values = values_of(merge(critic, state.critic), rows)
        return policy.log_probs, policy.entropy, reference.log_probs, values

    parts = jax.lax.map(score, _spread(rollout, config.minibatches))
    logprobs, entropy, reference, values = (_gather(part) for part in parts)
    mask = rollout.mask
    kl = rl.kl_k1(logprobs, reference)
    rewards = rl.shaped_rewards(rollout.scores, kl, mask, config.kl_coef)
    advantages, returns = rl.gae(rewards, values, mask, config.gamma, config.lam)
    drift = jnp.where(mask, jnp.abs(logprobs - rollout.logprobs), 0.0)
    metrics = {
        "score": jnp.mean(rollout.scores),
        "reward_with_kl": jnp.mean(jnp.sum(rewards, axis=1)),
        "kl": rl.masked_mean(kl, mask),
        "kl_per_answer": jnp.mean(jnp.sum(jnp.where(mask, kl, 0.0), axis=1)),
        "entropy": rl.masked_mean(entropy, mask),
        "sampler_drift": rl.masked_mean(drift, mask),
        "sampler_drift_max": jnp.max(drift),
        "explained_variance": rl.explained_variance(values, returns, mask),
        "value": rl.masked_mean(values, mask),
    }
    if config.whiten_advantages:
        advantages = rl.whiten(advantages, mask)
    experience = Experience(
        rollout=rollout, old_logprobs=logprobs, old_values=values, advantages=advantages, returns=returns
    )
    return experience, metrics


def shuffled_rows(key: jax.Array, rows: int, config: PpoAlgorithmConfig) -> jax.Array:
    """int32 [epochs * minibatches, rows per minibatch]: each epoch visits every row once, in its own order."""
    keys = jax.random.split(key, config.epochs)
    orders = jax.vmap(lambda one: jax.random.permutation(one, rows))(keys)
    return orders.reshape(config.epochs * config.minibatches, -1)


def update_minibatch(
    learning: tuple[Any, ...], rows: jax.Array, *, experience: Experience, actor: Learner, critic: Learner,
    config: PpoAlgorithmConfig, temperature: float,
) -> tuple[tuple[Any, ...], Metrics]:  # fmt: skip
    """One update of actor and critic on some rows; ``learning`` is the parameters and optimizer state of each."""
    params, opt_state, critic_params, critic_opt_state = learning
    batch = jax.tree.map(lambda x: _over_devices(x[rows]), experience)
    rollout, mask = batch.rollout, batch.rollout.mask

    def policy(params: Params) -> tuple[jax.Array, Loss]:
        logprobs = score_answers(merge(actor.graphdef, params), rollout, temperature).log_probs
        return _mean(rl.policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, config.clip))

    def value(params: Params) -> tuple[jax.Array, Loss]:
        values = values_of(merge(critic.graphdef, params), rollout)
        return _mean(rl.value_loss(values, batch.old_values, batch.returns, mask, config.value_clip))

    (policy_loss, sums), gradient = jax.value_and_grad(policy, has_aux=True)(params)
    (value_loss, value_sums), value_gradient = jax.value_and_grad(value, has_aux=True)(critic_params)
    updates, opt_state = actor.optimizer.update(gradient, opt_state, params)
    value_updates, critic_opt_state = critic.optimizer.update(value_gradient, critic_opt_state, critic_params)
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "grad_norm": optax.tree.norm(gradient),
        "critic_grad_norm": optax.tree.norm(value_gradient),
        **{name: total / sums.denominator for name, total in (sums.metrics | value_sums.metrics).items()},
    }
    params = optax.apply_updates(params, updates)
    critic_params = optax.apply_updates(critic_params, value_updates)
    return (params, opt_state, critic_params, critic_opt_state), metrics


def _mean(loss: Loss) -> tuple[jax.Array, Loss]:
    return loss.total / loss.denominator, loss


def _spread(tree: Tree, parts: int) -> Tree:
    """[B, ...] -> [parts, B / parts, ...]; part i has the rows i, i + parts, ...: a share of every device's rows."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), tree)


def _gather(x: jax.Array) -> jax.Array:
    """The inverse of `_spread`."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _over_devices(x: jax.Array) -> jax.Array:
    return constrain(x, "batch", *[None] * (x.ndim - 1))
