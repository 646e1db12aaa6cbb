"""Which token comes next: the most likely one, or one drawn after top-k and top-p.

A token is drawn in two steps, a block of the vocabulary and one of its tokens, since noise for every token takes a
processor longer than the product that gives the logits. The noise of a row depends on the key, its number, its step and
the size of the vocabulary: padding, company and sharding change no sample.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from tl_jax.config import SamplingConfig

Array: TypeAlias = Any
"""Of the host before a program runs, of its devices while it does."""

CANDIDATES = 256
"""The most likely tokens, among which a nucleus ends as a rule; the whole vocabulary is sorted where one does not."""
BLOCK = 128
"""Tokens of a block."""


class Draw(NamedTuple):
    """How tokens are chosen, of which another value compiles nothing."""

    key: Array  # uint32 [W], the words of the key
    temperature: Array  # float32 []
    top_p: Array  # float32 []
    eos_ids: Array  # int32 [E]


class Static(NamedTuple):
    """What a compiled program depends on."""

    max_new_tokens: int
    greedy: bool
    top_k: int | None
    nucleus: bool

    @classmethod
    def of(cls, sampling: SamplingConfig) -> Static:
        greedy, nucleus = sampling.temperature == 0, sampling.top_p not in (None, 1)
        return cls(sampling.max_new_tokens, greedy, sampling.top_k, nucleus)

    @property
    def filters(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return not self.greedy and (self.top_k is not None or self.nucleus)


class Chosen(NamedTuple):
    """A token for every row."""

    tokens: jax.Array
    """int32 [B]"""
    logprobs: jax.Array
    """float32 [B], before the filters"""
    drawn: jax.Array
    """float32 [B], after them"""


def choose(logits: jax.Array, numbers: jax.Array, steps: jax.Array, draw: Draw, static: Static) -> Chosen:
    """Takes a token for each row of ``logits`` [B, V], whose noise is that of ``numbers`` [B] and ``steps`` [B]."""
    if static.greedy:
        chosen = _first_of_the_largest(logits)
        logprobs = _log_probs(logits, chosen)
        return Chosen(chosen, logprobs, logprobs)
    logits = logits / draw.temperature
    filtered = filter_logits(logits, static.top_k, draw.top_p if static.nucleus else None)
    tokens, drawn = _drawn(filtered, jax.random.wrap_key_data(draw.key), numbers, steps)
    return Chosen(tokens, _log_probs(logits, tokens) if static.filters else drawn, drawn)


def filter_logits(logits: jax.Array, top_k: int | None, top_p: jax.Array | float | None) -> jax.Array:
    """Sets to -inf what is not among the ``top_k`` most likely tokens, then what is not in the smallest set that
    holds ``top_p`` of the remaining probability (https://arxiv.org/abs/1904.09751). Ties at the border stay. [B, V].
    """
    if top_k is not None and top_k < logits.shape[-1]:
        kth = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if top_p is not None:
        logits = jnp.where(logits < _nucleus_border(logits, top_p), -jnp.inf, logits)
    return logits


def _nucleus_border(logits: jax.Array, top_p: jax.Array | float) -> jax.Array:
    """The least likely logit of each row's nucleus, [B, 1]."""
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)

    def among(ordered: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The border among the most likely, and whether the nucleus is there in every row."""
        probabilities = jnp.exp(ordered - total)
        until = jnp.cumsum(probabilities, axis=-1)
        border = jnp.min(jnp.where(until - probabilities < top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        return border, (until[:, -1] >= top_p).all()

    def among_all() -> jax.Array:
        return among(jnp.sort(logits, axis=-1, descending=True))[0]

    if logits.shape[-1] <= CANDIDATES:
        return among_all()
    border, there = among(jax.lax.top_k(logits, CANDIDATES)[0])
    found: jax.Array = jax.lax.cond(there, lambda: border, among_all)
    return found


def _first_of_the_largest(scores: jax.Array) -> jax.Array:
    """Int32 [B], of [B, V]. `jnp.argmax`, which compares values and places together, takes a processor five times as
    long."""
    places = jnp.arange(scores.shape[1], dtype=jnp.int32)
    smaller = scores < jnp.max(scores, axis=-1, keepdims=True)  # false of NaN, so that some place is left
    return jnp.min(jnp.where(smaller, scores.shape[1], places), axis=-1)


def _log_probs(logits: jax.Array, chosen: jax.Array) -> jax.Array:
    """[B]: of one token of each row."""
    largest = jnp.max(logits, axis=-1)
    total = jnp.sum(jnp.exp(logits - largest[:, None]), axis=-1)
    return jnp.take_along_axis(logits, chosen[:, None], axis=1)[:, 0] - largest - jnp.log(total)


def _drawn(logits: jax.Array, key: jax.Array, numbers: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A sample of the softmax of each row, int32 [B], and its log-probability, [B].

    The argmax of logarithms plus Gumbel noise is a sample of what they are the logarithms of: first of the sums of
    blocks, then of one block's tokens.
    """
    (rows, vocab), blocks = logits.shape, -(-logits.shape[1] // BLOCK)
    padded = jnp.pad(logits, ((0, 0), (0, blocks * BLOCK - vocab)), constant_values=-jnp.inf)
    by_block = padded.reshape(rows, blocks, BLOCK)
    largest = jnp.max(logits, axis=-1)
    sums = jnp.sum(jnp.exp(by_block - largest[:, None, None]), axis=-1)
    noise = _noise(key, numbers, steps, blocks + BLOCK)
    block = _first_of_the_largest(jnp.log(sums) + noise[:, :blocks])
    own = jnp.take_along_axis(by_block, block[:, None, None], axis=1)[:, 0]
    place = _first_of_the_largest(own + noise[:, blocks:])
    drawn = jnp.take_along_axis(own, place[:, None], axis=1)[:, 0] - largest - jnp.log(jnp.sum(sums, axis=-1))
    return block * BLOCK + place, drawn


def _noise(key: jax.Array, numbers: jax.Array, steps: jax.Array, count: int) -> jax.Array:
    """Gumbel noise [B, count]."""

    def one(number: jax.Array, step: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(jax.random.fold_in(key, number), step), (count,))

    return jax.vmap(one)(numbers, steps)
