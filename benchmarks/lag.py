"""Where off-policy learning ends, with every probability known: no critic, no sampler, no rows, many seeds at once.

    python -m benchmarks.lag [--seeds 12]

The three calls of tests/rl/test_convergence.py have 512 episodes, so what a policy writes and how likely that is are
computed whole; a rollout is a draw of 384 of them, advantages are those of dr_grpo by turn, and the losses the
package's own. Weights are of tokens (as the package has them), of an episode up to a token, or of whole episodes, each
at most 2. Printed is the total variation from the optimum at the end, by seed; minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.rl.test_convergence import (
    GRAPH,
    MODEL,
    PROMPT,
    RATE,
    ROWS,
    STEPS,
    TOOL_SAYS,
    initial_params,
    optimum_of_reference,
    regularised,
    returns,
    three_step_rewards,
)
from tl_jax.model.llama import merge
from tl_jax.rl.losses import policy_losses

CALLS, WORDS = 3, MODEL.vocab_size
EPISODES = np.array(list(np.ndindex((WORDS,) * CALLS)))
STREAMS = np.array([[*PROMPT, first, TOOL_SAYS, second, TOOL_SAYS] for first, second, _ in EPISODES])
CAP, CLIP, GROUPS, UPDATES = 2.0, 0.2, 4, 2
"""Groups and updates: of the former in each of the latter."""
WEIGHTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "none": jnp.zeros_like,
    "token": lambda drift: drift,
    "up to a token": lambda drift: jnp.cumsum(drift, axis=1),
    "episode": lambda drift: jnp.broadcast_to(drift.sum(axis=1, keepdims=True), drift.shape),
}
"""Logarithms of the weights, by how much likelier each call has become [512, 3]."""


def log_probs(params: Any) -> jax.Array:
    """[512, 3]: of each call of every episode."""
    tokens = jnp.asarray(STREAMS[::WORDS])  # the last call is no input
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    said = jax.nn.log_softmax(merge(GRAPH, params)(tokens, positions, jnp.ones_like(tokens))[:, ::2])
    return jnp.take_along_axis(jnp.repeat(said, WORDS, axis=0), jnp.asarray(EPISODES)[..., None], axis=2)[..., 0]


def distances(weights: str, lag: int) -> Callable[[jax.Array], jax.Array]:
    """From a seed to the total variation from the optimum after each step; ``lag`` is 0 or 1."""
    problem, steps = three_step_rewards(), STEPS[CALLS]
    shape = (WORDS,) * CALLS
    whole = [np.broadcast_to(x.reshape(x.shape + (1,) * (CALLS - x.ndim)), shape).reshape(-1) for x in problem]
    earned = jnp.asarray(np.stack(whole, axis=1), jnp.float32)
    optimum = jnp.asarray(regularised(optimum_of_reference(CALLS), returns(problem), 1.0).reshape(-1), jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE[CALLS], UPDATES * steps, alpha=0.01))
    first = initial_params()
    reference = log_probs(first)

    def draw(params: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-probabilities, and how often each episode is in a group: [2, 4, 512]."""
        now = log_probs(params)
        drawn = jax.random.categorical(key, now.sum(axis=1), shape=(UPDATES, GROUPS, ROWS // (UPDATES * GROUPS)))
        return now, jax.nn.one_hot(drawn, len(EPISODES)).sum(axis=2)

    def learn(params: Any, moments: Any, drawn: jax.Array, counts: jax.Array) -> tuple[Any, Any]:
        old = log_probs(params)
        to_come = jnp.flip(jnp.cumsum(jnp.flip(earned - (old - reference), axis=1), axis=1), axis=1)
        weight = jnp.minimum(jnp.exp(WEIGHTS[weights](old - drawn)), CAP)
        for group in counts:
            share = group[..., None] / group.sum(axis=1)[:, None, None]
            advantages = to_come - (share * to_come).sum(axis=1, keepdims=True)  # [4, 512, 3]

            def loss(params: Any, share: jax.Array = share, advantages: jax.Array = advantages) -> jax.Array:
                new, before = (jnp.broadcast_to(x, advantages.shape) for x in (log_probs(params), old))
                losses = policy_losses(new, before, advantages, CLIP, CLIP).losses
                return (share * weight * losses).sum() / GROUPS

            updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
            params = optax.apply_updates(params, updates)
        return params, moments

    def run(seed: jax.Array) -> jax.Array:
        key = jax.random.key(seed)

        def step(carry: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            params, moments, waiting = carry
            new = draw(params, jax.random.fold_in(key, number))
            params, moments = learn(params, moments, *(waiting if lag else new))
            distance = jnp.abs(jnp.exp(log_probs(params).sum(axis=1)) - optimum).sum() / 2
            return (params, moments, new), distance

        begin = (first, optimizer.init(first), draw(first, jax.random.fold_in(key, 10**6)))
        return jax.lax.scan(step, begin, jnp.arange(steps))[1]

    return run


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=12)
    seeds = jnp.arange(options.parse_args().seeds)
    for weights, lag in (("none", 0), *((name, 1) for name in WEIGHTS)):
        ends = np.sort(jax.jit(jax.vmap(distances(weights, lag)))(seeds)[:, -1])
        found = " ".join(f"{end:.4f}" for end in ends)
        print(f"lag {lag}, weights {weights}: mean {ends.mean():.4f}, median {np.median(ends):.4f}; {found}")


if __name__ == "__main__":
    main()
