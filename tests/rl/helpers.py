"""A small policy and critic, made-up rollouts, and dense NumPy restatements of what a step should make of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.training.helpers import TINY
from tl_jax.config import AlgorithmConfig
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.model.value import make_value_graphdef
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.scores import score_rollout
from tl_jax.rl.state import RlState, StepSpec, TrainableModel, init_rl_state
from tl_jax.rl.step import make_rl_step
from tl_jax.tooluse.schema import Case

TEMPERATURE = 0.7

ACTOR_GRAPH = make_graphdef(TINY, dtype=jnp.float32)

CRITIC_GRAPH = make_value_graphdef(TINY, dtype=jnp.float32)

SGD = optax.sgd(1.0)

SCORE = jax.jit(
    lambda state, rollout, config: score_rollout(state, rollout, spec_of(optax.sgd(0.0), config)), static_argnums=2
)


def spec_of(optimizer: optax.GradientTransformation, config: AlgorithmConfig, **more: Any) -> StepSpec:
    rate = optax.constant_schedule(0.0)
    actor, critic = TrainableModel(ACTOR_GRAPH, optimizer, rate), TrainableModel(CRITIC_GRAPH, optimizer, rate)
    return StepSpec(actor, critic, config, temperature=TEMPERATURE, answer_length=8, **more)


def initial(config: AlgorithmConfig, optimizer: optax.GradientTransformation) -> partial[RlState]:
    return partial(init_rl_state, model=TINY, spec=spec_of(optimizer, config), seed=1)


def drifted_state(config: AlgorithmConfig, optimizer: optax.GradientTransformation) -> RlState:
    """A state whose actor has left the reference and whose critic expects something."""
    state = initial(config, optimizer)(init_params(TINY, jax.random.key(7)))
    other = init_params(TINY, jax.random.key(8))
    trainable = {"actor": jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.trainable["actor"], other)}
    if critic := state.trainable.get("critic"):
        trainable["critic"] = critic | {"value_head": jax.random.normal(jax.random.key(9), (TINY.hidden_size,)) / 8}
    return replace(state, trainable=trainable)


CASE = Case("c", (), ())


def random_rollout(rows: int = 8, width: int = 8, seed: int = 0, layout: Layout | None = None) -> RolloutBatch:
    """Ragged prompts and answers; EOS (2) is also the pad id and occurs in prompts. By default for one update.

    Those of a group have the same prompt.
    """
    rng = np.random.default_rng(seed)
    episodes, rewards = [], []
    layout = layout or Layout()
    for number in range(rows):
        if number % layout.group_size == 0:
            prompt = [1, 2, *rng.integers(3, TINY.vocab_size, rng.integers(2, 14)).tolist()]
        written = [*rng.integers(3, TINY.vocab_size, rng.integers(0, width)).tolist(), 2]
        logprobs = rng.normal(size=len(written)).tolist()
        turn = Turn(CASE, "", True, len(prompt) - 1, tuple(written), tuple(logprobs))
        episodes.append(Episode(CASE, prompt + written, len(prompt), [turn]))
        rewards.append(np.float32([[rng.choice([-2.0, -1.3, -0.25, 1.0])]]))
    return collate(episodes, rewards, layout=layout)


def streams(rollout: RolloutBatch) -> list[np.ndarray]:
    """What each episode of one turn reads, found in the rows of the first update's parts that it stands in."""
    rows, found = rollout.rows, []
    width = rollout.mask.shape[1]
    for number in range(len(rollout.mask)):
        places = np.argwhere(rows.sources[:, 0] // width == number)
        (row,) = {tuple(place[:2]) for place in places}
        tokens, segments, positions = (x[row[0], 0, row[1]] for x in (rows.tokens, rows.segment_ids, rows.positions))
        own = segments == segments[places[0, 2]]
        if rows.branches is not None:
            branches = rows.branches[row[0], 0, row[1]]
            own &= np.isin(branches, (0, branches[places[0, 2]]))
        assert sorted(positions[own]) == list(range(own.sum()))
        found.append(tokens[own][np.argsort(positions[own])])
    return found


def dense(rollout: RolloutBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rollout laid out differently: a row for each episode, where its answer stands in it, and its end.

    Returns:
        tokens [B, T], the answers' columns [B, N] (any column outside the mask), length of each row [B]. The answers
        are read to their end, so the last tokens of a row are its labels.
    """
    rows = streams(rollout)
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), np.int32)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    columns = (lengths - rollout.mask.sum(axis=1))[:, None] + np.arange(rollout.mask.shape[1])
    return tokens, np.where(rollout.mask, columns, 1), lengths


@jax.jit
def dense_logprobs(params: Any, tokens: jax.Array, columns: jax.Array, lengths: jax.Array) -> jax.Array:
    """[B, N] with the whole softmax at once."""
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    logits = merge(ACTOR_GRAPH, params)(tokens, places, (places < lengths[:, None]).astype(jnp.int32))
    logprobs = jax.nn.log_softmax(logits / TEMPERATURE)
    rows = jnp.arange(len(tokens))[:, None]
    return logprobs[rows, columns - 1, tokens[rows, columns]]


@jax.jit
def dense_values(critic: Any, tokens: jax.Array, columns: jax.Array, lengths: jax.Array) -> jax.Array:
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    values = merge(CRITIC_GRAPH, critic)(tokens, places, (places < lengths[:, None]).astype(jnp.int32))
    return jnp.take_along_axis(values, columns - 1, axis=1)


def policies(state: RlState) -> tuple[Any, Any]:
    """Parameters of the actor and of the reference policy."""
    return state.trainable["actor"], state.frozen["ref"]


def dense_advantages(state: RlState, rollout: RolloutBatch, config: AlgorithmConfig) -> np.ndarray:
    """[B, N] in float64 by the definition, before whitening; 0 outside the mask."""
    args = dense(rollout)
    policy, reference = (np.asarray(dense_logprobs(p, *args), np.float64) for p in policies(state))
    values, decay = np.asarray(dense_values(state.trainable["critic"], *args), np.float64), config.gamma * config.lam
    advantages = np.zeros(values.shape)
    for row, length in enumerate(rollout.mask.sum(axis=1)):
        rewards = -config.kl_coef * (policy - reference)[row, :length]
        rewards[-1] += rollout.rewards[row].sum()
        expected = np.append(values[row, :length], 0.0)
        deltas = rewards + config.gamma * expected[1:] - expected[:-1]
        for start in range(length):
            advantages[row, start] = sum(decay ** (t - start) * deltas[t] for t in range(start, length))
    return advantages


def one_step(config: AlgorithmConfig, rollout: RolloutBatch, state: RlState | None = None, **more: Any) -> Any:
    """A step of gradient descent at rate 1: state before, state after, metrics."""
    state = state or drifted_state(config, SGD)
    new, metrics = step_of(config, **more)(state, rollout)
    return state, new, metrics


@cache
def step_of(config: AlgorithmConfig, **more: Any) -> Any:
    """The step that `one_step` takes, traced once for all tests of a process."""
    return jax.jit(make_rl_step(spec_of(SGD, config, **more)))


def moved(before: Any, after: Any) -> bool:
    return any(np.any(a != b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
