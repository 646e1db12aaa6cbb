"""Updates in which adapters drop some of what they read: each with noise of its own, in all that it compares.

Answers are written, and metrics, KL in the reward and advantages made, without noise. An update's ratio is that of the
policy now to the policy that the step began with, both under the update's noise: 1 where nothing has moved. So is what
holds a value near the old one.
"""

from __future__ import annotations

from dataclasses import replace

import jax

from tl_jax.config import AlgorithmConfig
from tl_jax.model.parameters import Params
from tl_jax.rl.minibatch_losses import Targets
from tl_jax.rl.parts import MicroBatch, one_by_one
from tl_jax.rl.scores import per_token_logps
from tl_jax.rl.state import StepSpec
from tl_jax.training.state import dropout_keys


def with_dropout(
    parts: MicroBatch, targets: Targets, before: Params, spec: StepSpec, key: jax.Array
) -> tuple[MicroBatch, Targets]:
    """The parts of an update with their noise, and what the update starts from under it; arrays [M, R, T].

    Args:
        parts: of the update.
        targets: at their places in the rows.
        before: actor and critic as they were when the rollout was written, in the dtype of the computation.
        spec: what the step is made of.
        key: of this update alone.
    """
    noisy = replace(parts, dropout_keys=dropout_keys(key, parts.tokens.shape[:2]))
    if starts_from_itself(spec.config):
        return noisy, targets._replace(old_logprobs=None, old_values=None)

    def read(part: MicroBatch) -> tuple[jax.Array, jax.Array]:
        policy, values = per_token_logps(before, part, spec)
        return policy.log_probs, values

    old_logprobs, old_values = one_by_one(read, noisy)
    return noisy, targets._replace(old_logprobs=old_logprobs, old_values=old_values)


def starts_from_itself(config: AlgorithmConfig) -> bool:
    """Whether there is one update only, which finds itself what it starts from."""
    only = config.epochs * config.minibatches == 1
    return only and config.old_log_probs == "auto" and not config.critic_warmup
