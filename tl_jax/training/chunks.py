"""Scores of positions by logits that exist a chunk at a time, with a backward pass of their own.

Derived by JAX, it adds zeros as large as the vocabulary's matrix to that matrix' gradient for every chunk in which
nobody wants a score, and computes logits once more whatever `model.remat` is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from tl_jax.training.tracing import with_shapes, zeros

KEPT = 4
"""Chunks whose logits wait for the backward pass, where they do: half of a row, of a row of more than 8,192 less."""

Logits = Callable[..., jax.Array]
"""(states [B, C, D], arrays that it reads beside them) -> [B, C, V]"""
Score = Callable[[jax.Array, jax.Array, jax.Array], Any]
"""(logits [B, C, V], labels [B, C], which of them are wanted [B, C]) -> arrays [B, C]"""
Arrays: TypeAlias = "Sequence[jax.Array | None]"
Kept: TypeAlias = "tuple[Chunks, Arrays, Arrays, jax.Array | None]"
"""Chunks, what is learnt and what is frozen of that which logits read beside states (each None in the other), logits"""


class Chunks(NamedTuple):
    """C positions of each row, N times."""

    states: jax.Array
    """[N, B, C, D]"""
    labels: jax.Array
    """int [N, B, C]"""
    wanted: jax.Array
    """bool [N, B, C]"""


def scored(logits: Callable[[jax.Array], jax.Array], score: Score, chunks: Chunks, keep: bool) -> Any:
    """``score`` of the ``logits`` of every chunk with a wanted position, arrays [N, B, C], 0 for the others.

    Args:
        logits: of states [B, C, D].
        score: a pure function.
        chunks: to be scored.
        keep: logits of the first `KEPT` chunks wait for the backward pass; else they are computed again there.
    """
    of_states, beside = jax.closure_convert(logits, chunks.states[0])
    if not keep:
        return _scored(of_states, score, False, chunks, beside)
    parts = [Chunks(*(x[part] for x in chunks)) for part in (slice(KEPT), slice(KEPT, None))]
    first, rest = (_scored(of_states, score, at == 0, part, beside) for at, part in enumerate(parts))
    return jax.tree.map(lambda *both: jnp.concatenate(both), first, rest)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _scored(logits: Logits, score: Score, keep: bool, chunks: Chunks, beside: Sequence[jax.Array]) -> Any:
    return _read(logits, score, False, chunks, beside)[0]


def _read(
    logits: Logits, score: Score, keep: bool, chunks: Chunks, beside: Sequence[jax.Array]
) -> tuple[Any, jax.Array | None]:
    """Scores, and the logits if they are kept."""

    def of_chunk(chunk: Chunks) -> Any:
        predicted = logits(chunk.states, *beside)
        return score(predicted, chunk.labels, chunk.wanted), predicted if keep else None

    def one(_: None, chunk: Chunks) -> tuple[None, Any]:
        scored, shapes = with_shapes(of_chunk, chunk)
        return None, jax.lax.cond(jnp.any(chunk.wanted), scored, lambda _: zeros(shapes), chunk)

    scores, kept = jax.lax.scan(one, None, chunks)[1]
    return scores, kept


def _forward(logits: Logits, score: Score, keep: bool, chunks: Any, beside: Any) -> tuple[Any, Kept]:
    """Of values that say whether anybody wants their gradient: no sums are made for what is frozen, which XLA would
    not leave out of a loop over parts of a rollout."""
    learnt = [x.value if x.perturbed else None for x in beside]
    frozen = [None if x.perturbed else x.value for x in beside]
    chunks = jax.tree.map(lambda x: x.value, chunks)
    scores, kept = _read(logits, score, keep, chunks, _together(learnt, frozen))
    return scores, (chunks, learnt, frozen, kept)


def _together(learnt: Arrays, frozen: Arrays) -> list[jax.Array]:
    return [x for both in zip(learnt, frozen, strict=True) for x in both if x is not None]


def _backward(logits: Logits, score: Score, keep: bool, kept: Kept, given: Any) -> tuple[Any, Arrays]:
    chunks, learnt, frozen, all_predicted = kept
    given = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, SymbolicZero) else x, given)

    def of_chunk(chunk: Chunks, predicted: jax.Array | None, given: Any, sums: Any) -> tuple[Any, jax.Array]:
        def read(states: jax.Array, learnt: Arrays) -> jax.Array:
            return logits(states, *_together(learnt, frozen))

        again, to_states = jax.vjp(read, chunk.states, learnt)  # nothing of `again` is computed if they were kept
        here = again if predicted is None else predicted
        (d_logits,) = jax.vjp(lambda x: score(x, chunk.labels, chunk.wanted), here)[1](given)
        d_states, d_learnt = to_states(d_logits)
        return jax.tree.map(jnp.add, sums, d_learnt), d_states

    def skip(chunk: Chunks, predicted: jax.Array | None, given: Any, sums: Any) -> tuple[Any, jax.Array]:
        return sums, jnp.zeros_like(chunk.states)

    def one(sums: Any, at: tuple[Chunks, jax.Array | None, Any]) -> tuple[Any, jax.Array]:
        return jax.lax.cond(jnp.any(at[0].wanted), of_chunk, skip, *at, sums)

    nothing = jax.tree.map(jnp.zeros_like, learnt)
    d_learnt, d_states = jax.lax.scan(one, nothing, (chunks, all_predicted, given))
    return Chunks._make((d_states, None, None)), d_learnt


_scored.defvjp(_forward, _backward, symbolic_zeros=True)
