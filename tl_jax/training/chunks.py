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

KEPT = 4
"""Chunks whose logits wait for the backward pass, where they do: half of a row."""

Logits = Callable[..., jax.Array]
"""(states [B, C, D], arrays that it reads beside them) -> [B, C, V]"""
Score = Callable[[jax.Array, jax.Array, jax.Array], Any]
"""(logits [B, C, V], labels [B, C], which of them are wanted [B, C]) -> arrays [B, C]"""
Kept: TypeAlias = "tuple[Chunks, Sequence[jax.Array], jax.Array | None]"


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
    return _forward(logits, score, False, chunks, beside)[0]


def _forward(logits: Logits, score: Score, keep: bool, chunks: Chunks, beside: Sequence[jax.Array]) -> tuple[Any, Kept]:
    def of_chunk(chunk: Chunks) -> Any:
        predicted = logits(chunk.states, *beside)
        return score(predicted, chunk.labels, chunk.wanted), predicted if keep else None

    def one(_: None, chunk: Chunks) -> tuple[None, Any]:
        return None, jax.lax.cond(jnp.any(chunk.wanted), of_chunk, partial(_nothing, of_chunk), chunk)

    scores, kept = jax.lax.scan(one, None, chunks)[1]
    return scores, (chunks, beside, kept)


def _backward(logits: Logits, score: Score, keep: bool, kept: Kept, given: Any) -> tuple[Any, Sequence[jax.Array]]:
    chunks, beside, all_predicted = kept

    def of_chunk(chunk: Chunks, predicted: jax.Array | None, given: Any, sums: Any) -> tuple[Any, jax.Array]:
        again, to_states = jax.vjp(logits, chunk.states, *beside)  # nothing of `again` is computed if they were kept
        here = again if predicted is None else predicted
        (d_logits,) = jax.vjp(lambda x: score(x, chunk.labels, chunk.wanted), here)[1](given)
        d_states, *d_beside = to_states(d_logits)
        return jax.tree.map(jnp.add, sums, d_beside), d_states

    def skip(chunk: Chunks, predicted: jax.Array | None, given: Any, sums: Any) -> tuple[Any, jax.Array]:
        return sums, jnp.zeros_like(chunk.states)

    def one(sums: Any, at: tuple[Chunks, jax.Array | None, Any]) -> tuple[Any, jax.Array]:
        return jax.lax.cond(jnp.any(at[0].wanted), of_chunk, skip, *at, sums)

    nothing = [jnp.zeros_like(x) for x in beside]
    d_beside, d_states = jax.lax.scan(one, nothing, (chunks, all_predicted, given))
    return Chunks._make((d_states, None, None)), d_beside


_scored.defvjp(_forward, _backward)


def _nothing(function: Callable[..., Any], *given: Any) -> Any:
    """Zeros in the shapes of what ``function`` gives."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, *given))
