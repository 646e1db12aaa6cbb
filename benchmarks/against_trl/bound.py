"""The work of a step that nobody can leave out, and how fast this machine multiplies matrices."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import count_in_products

BOTH_WAYS = 3
"""Forward passes that a forward and a backward pass cost."""


def one_pass(config: LlamaConfig, tokens: float, seen: float, targets: float) -> float:
    """Floating-point operations of a forward pass.

    Args:
        config: sizes.
        tokens: that are read, without padding.
        seen: pairs of a token and one that it sees.
        targets: tokens that logits are needed for.
    """
    head = config.hidden_size * config.vocab_size
    attention = 4.0 * config.num_layers * config.num_heads * config.head_dim * seen
    return 2.0 * (count_in_products(config) - head) * tokens + 2.0 * head * targets + attention


def of_rows(config: LlamaConfig, batch: Batch) -> float:
    """Of a step of supervised training: no padding, no pair that is not seen, logits where there are targets."""
    real = np.asarray(batch.segment_ids) > 0
    seen = np.where(real, np.asarray(batch.positions) + 1.0, 0).sum()
    return BOTH_WAYS * one_pass(config, real.sum(), seen, (np.asarray(batch.weights) > 0).sum())


def of_prompts(config: LlamaConfig, prompts: Sequence[int], settings: dict[str, Any]) -> float:
    """Of a step of reinforcement learning with prompts of so many tokens.

    A prompt is read once for all of its answers, when they are written, by the policy that learns (which gives the
    log-probabilities before, too), by the reference where there is a KL, and by the critic where it has a backbone of
    its own, whose values and whose gradient are of one forward pass.
    """
    ppo, new = settings["kind"] == "ppo", settings["new_tokens"]
    answers = 1 if ppo else settings["group_size"]
    tokens = sum(prompts) + len(prompts) * answers * new
    seen = sum(n * (n + 1) / 2 + answers * new * (n + (new + 1) / 2) for n in prompts)
    policy, backbone = (one_pass(config, tokens, seen, n) for n in (len(prompts) * answers * new, 0))
    critic = BOTH_WAYS * backbone if ppo and settings["critic_backbone"] == "sft" else 0
    return policy * (1 + BOTH_WAYS + ppo) + critic


def matmul_rate() -> float:
    """Floating-point operations in a second of processor time, of the best of ten products of a row of tokens."""
    a, b = (np.ones(shape, np.float32) for shape in ((2048, 512), (512, 1408)))
    multiply, least = jax.jit(lambda a, b: a @ b), math.inf
    for _ in range(10):
        began = time.process_time()
        multiply(a, b).block_until_ready()
        least = min(least, time.process_time() - began)
    return 2.0 * 2048 * 512 * 1408 / least
