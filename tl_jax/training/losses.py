"""Losses as unreduced sums, and the chunked vocabulary projection they share.

A loss returns a sum and what it has to be divided by, so that means stay exact over micro-batches and devices.
The projection onto the vocabulary is the largest array of a step; here it is computed only for positions that have a
target, a chunk at a time, and again in the backward pass unless ``model.remat`` is ``none``: ``[B, T, V]`` never
exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tl_jax.config.losses import LOSSES
from tl_jax.data.batch import Batch
from tl_jax.errors import UserError
from tl_jax.model.llama import Llama
from tl_jax.model.row_order import masked_first, reordered
from tl_jax.plugins import Plugin, bind
from tl_jax.training.chunks import Chunks, scored

CHUNKS = 8
"""Into how many pieces a row is cut: a row with targets on 1/8 of its positions pays for one of them."""
MAX_CHUNK = 1024
"""Positions per row in one piece at most, which bounds the float32 logits to ``[B, 1024, V]``."""


class Loss(NamedTuple):
    """Sums over a batch; the loss itself is ``total / denominator``."""

    total: jax.Array
    """float32 scalar."""
    denominator: jax.Array
    """float32 scalar."""
    metrics: dict[str, jax.Array]
    """Further sums, float32 scalars, named after the mean they become: each is divided by ``targets``, the number of
    target tokens, where the loss counts them, else by ``denominator``."""


LossFn = Callable[[Llama, Batch], Loss]


class ChunkLogits(NamedTuple):
    """What the model predicts at the positions of a chunk, for a `Statistic` to be computed from. All float32."""

    logits: jax.Array
    """[B, C, V], divided by the temperature"""
    log_normaliser: jax.Array
    """[B, C]: ``logsumexp(logits)``"""
    label_logits: jax.Array
    """[B, C]: the logits of the labels"""


Statistic = Callable[[ChunkLogits], jax.Array]
"""A pure function that gives a number for every position, [B, C]."""


class TokenScores(NamedTuple):
    """What the model says of given labels. All float32 [B, T], 0 outside the mask."""

    log_probs: jax.Array
    """log-probability of the label"""
    statistics: dict[str, jax.Array]
    """those that were asked for"""


def entropy(chunk: ChunkLogits) -> jax.Array:
    """Entropy of the predicted distribution in nats."""
    probabilities = jnp.exp(chunk.logits - chunk.log_normaliser[..., None])
    return chunk.log_normaliser - jnp.sum(probabilities * chunk.logits, axis=-1)


def correct(chunk: ChunkLogits) -> jax.Array:
    """1 where no token is more likely than the label."""
    return chunk.label_logits >= jax.lax.stop_gradient(jnp.max(chunk.logits, axis=-1))


def mean_log_prob(chunk: ChunkLogits) -> jax.Array:
    """Mean log-probability of all V tokens: minus the cross-entropy with the uniform distribution."""
    return jnp.mean(chunk.logits, axis=-1) - chunk.log_normaliser


def make_loss(plugin: Plugin) -> LossFn:
    """The loss that a configuration names, with its options.

    Raises:
        UserError: no such loss, or options that it does not take.
    """
    known = LOSSES.get(plugin.name)
    return bind(plugin, ("model", "batch"), key="loss", function=known.function if known else None)


def weighted_cross_entropy(model: Llama, batch: Batch) -> Loss:
    """``sum(weights * cross_entropy) / sum(turns)``: the mean over turns of each turn's weighted mean.

    The weights of a turn already add up to its own weight (https://arxiv.org/abs/2412.15495, and `Batch`), so MAE and
    PKT need nothing here.
    """
    return weighted_loss(model, batch, lambda scores: -scores.log_probs)


def label_smoothing(model: Llama, batch: Batch, smoothing: float = 0.1) -> Loss:
    """Cross-entropy with a target distribution of which ``smoothing`` is uniform over the V tokens.

    Of a target token ``-(1 - smoothing) * log p(label) - smoothing * mean_v log p(v)``
    (https://arxiv.org/abs/1512.00567, section 7), weighted as by `weighted_cross_entropy`; that is what it is at 0.

    Raises:
        UserError: ``smoothing`` is not between 0 and 1.
    """
    if not 0 <= smoothing <= 1:
        raise UserError(f"loss.options.smoothing: must be between 0 and 1, got {smoothing}")
    if smoothing == 0:  # bit for bit: a term times 0 would still be added
        return weighted_cross_entropy(model, batch)

    def of_token(scores: TokenScores) -> jax.Array:
        return -((1 - smoothing) * scores.log_probs + smoothing * scores.statistics["mean_log_prob"])

    return weighted_loss(model, batch, of_token, {"mean_log_prob": mean_log_prob})


def weighted_loss(
    model: Llama,
    batch: Batch,
    of_token: Callable[[TokenScores], jax.Array],
    statistics: Mapping[str, Statistic] | None = None,
) -> Loss:
    """``sum(weights * of_token) / sum(turns)``, for every loss that is a function of a target token's scores.

    Args:
        of_token: gives [B, T] of the scores of the labels, in which ``statistics`` are.
        statistics: what else to compute of the logits, see `label_log_probs`.

    Returns:
        the loss; its metrics are ``targets``, ``cross_entropy`` and ``accuracy``, whatever ``of_token`` is.
    """
    chex.assert_equal_shape([batch.tokens, batch.labels, batch.weights])
    chex.assert_shape(batch.turns, batch.tokens.shape[:1])
    hidden = model.hidden(*batch.inputs)
    is_target = batch.weights > 0
    scores = label_log_probs(model, hidden, batch.labels, is_target, {"correct": correct, **(statistics or {})})
    losses = of_token(scores)
    chex.assert_equal_shape([losses, batch.weights])
    metrics = {
        "targets": jnp.sum(is_target, dtype=jnp.float32),
        "cross_entropy": -jnp.sum(scores.log_probs),
        "accuracy": jnp.sum(scores.statistics["correct"]),
    }
    return Loss(jnp.sum(batch.weights * losses), jnp.sum(batch.turns), metrics)


def label_log_probs(
    model: Llama,
    hidden: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    statistics: Mapping[str, Statistic] | None = None,
    *,
    temperature: float | jax.Array = 1.0,
    chunk: int | None = None,
) -> TokenScores:
    """Scores of ``labels`` [B, T] under ``softmax(model.logits(hidden) / temperature)`` in float32, where ``mask``.

    In each row the masked positions are moved to the front, in order; the row is then cut into chunks, and a chunk
    without a masked position in any row is skipped. Everything stays within its row, so that a batch sharded over
    rows needs no communication.

    Args:
        model: gives the vocabulary projection.
        hidden: [B, T, D].
        labels: int [B, T]; read only where ``mask``.
        mask: bool [B, T].
        statistics: what else to compute of the same logits, by name, such as `entropy`.
        temperature: > 0, not differentiated.
        chunk: positions per chunk; by default an eighth of the row.
    """
    statistics = statistics or {}
    chex.assert_rank(hidden, 3)
    chex.assert_shape([labels, mask], hidden.shape[:2])
    batch, length = labels.shape
    chunk = chunk or min(-(-length // CHUNKS), MAX_CHUNK)
    chunks = -(-length // chunk)
    order = masked_first(mask)

    def gather(x: jax.Array) -> jax.Array:
        """[B, T, ...] -> [chunks, B, chunk, ...], masked positions first."""
        padded = jnp.pad(reordered(x, order), [(0, 0), (0, chunks * chunk - length)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(batch, chunks, chunk, *x.shape[2:]), 1, 0)

    def scatter(x: jax.Array) -> jax.Array:
        """[chunks, B, chunk] -> [B, T], back in place."""
        flat = jnp.moveaxis(x, 0, 1).reshape(batch, chunks * chunk)[:, :length]
        return reordered(flat, order.inverse)

    def score(logits: jax.Array, targets: jax.Array, wanted: jax.Array) -> TokenScores:
        of_chunk = _chunk_logits(logits, targets)
        values = {name: statistic(of_chunk) for name, statistic in statistics.items()}
        chex.assert_shape(list(values.values()), wanted.shape)
        scores = TokenScores(of_chunk.label_logits - of_chunk.log_normaliser, values)
        return jax.tree.map(lambda x: jnp.where(wanted, jnp.asarray(x, jnp.float32), 0.0), scores)

    def logits(states: jax.Array) -> jax.Array:
        return model.logits(states) / jax.lax.stop_gradient(temperature)

    parts = Chunks(gather(hidden), gather(labels), gather(mask))
    return jax.tree.map(scatter, scored(logits, score, parts, keep=model.remat == "none"))


def _chunk_logits(logits: jax.Array, labels: jax.Array) -> ChunkLogits:
    log_normaliser = jax.nn.logsumexp(logits, axis=-1)
    # A comparison instead of a gather: elementwise in the vocabulary, so it fuses and works with a sharded one.
    chosen = labels[..., None] == jnp.arange(logits.shape[-1])
    label_logits = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    return ChunkLogits(logits, log_normaliser, label_logits)
