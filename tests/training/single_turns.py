"""The construction that one pass over a trajectory has to equal: a sample for each turn, which ends there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import Llama, init_params, make_graphdef, merge
from tl_jax.training.losses import weighted_cross_entropy

Sample = tuple[list[int], list[int], list[float]]
"""tokens, labels, weights"""


def as_batch(rows: Sequence[Sample], length: int, count: int) -> Batch:
    """Padded on the right to ``length``, with empty rows up to ``count`` of them."""
    tokens, labels, segments = (np.zeros((count, length), np.int32) for _ in range(3))
    weights = np.zeros((count, length), np.float32)
    for row, (inputs, targets, w) in enumerate(rows):
        size = len(inputs)
        tokens[row, :size], labels[row, :size], weights[row, :size], segments[row, :size] = inputs, targets, w, 1
    positions = np.tile(np.arange(length, dtype=np.int32), (count, 1))
    turns = (np.arange(count) < len(rows)).astype(np.float32)
    return Batch(tokens=tokens, labels=labels, weights=weights, segment_ids=segments, positions=positions, turns=turns)


def loss_and_gradient(config: LlamaConfig, **compiler_options: Any) -> Callable[[Batch], Any]:
    """Of a random model in float32: batch -> gradient and loss."""
    graphdef, params = make_graphdef(config, dtype="float32", remat="none"), init_params(config, jax.random.key(0))

    def total(p: Any, batch: Batch) -> tuple[jax.Array, Any]:
        model: Llama = merge(graphdef, p)
        loss = weighted_cross_entropy(model, batch)
        return loss.total, loss

    compiled = jax.jit(jax.grad(total, has_aux=True), compiler_options=compiler_options)
    return lambda batch: compiled(params, batch)
