"""Conversations that go on: what a model read and wrote of them, from one of its answers to the next.

Keys and values lie beside the slots, a row for each conversation as far as there is memory; what has no row is read
anew. Which part of a prompt need not be read is decided by its tokens alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.inference.buckets import places_for, row_count
from tl_jax.inference.capacity import free_memory, place_bytes, rows_kept
from tl_jax.inference.choice import Array
from tl_jax.inference.serving import ServedModel
from tl_jax.inference.slots import one_by_one, with_places
from tl_jax.model.cache import Cache, CacheLayout, held


class Kept:
    """What is kept of conversations, each under the number that its noise has.

    Args:
        model: whose keys and values they are; others know nothing of them.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._free = free_memory(model.devices)
        self._wanted = 0
        self._cache: Cache | None = None
        """its lengths are nobody's"""
        self._rows: dict[int, int] = {}
        """in the cache, by the conversation's number"""
        self._tokens: dict[int, np.ndarray] = {}
        """those in the row"""

    def go_on(self, numbers: Iterable[int]) -> None:
        """Only these conversations go on: what is kept of others is forgotten."""
        wanted = set(numbers)
        self._wanted = len(wanted)
        self._rows = {number: row for number, row in self._rows.items() if number in wanted}

    def common(self, number: int, prompt: np.ndarray) -> int:
        """How many tokens of a prompt are kept, from its first on. Never all: the answer begins with the last one's
        state."""
        if number not in self._rows:
            return 0
        kept = self._tokens[number][: len(prompt) - 1]
        other = np.flatnonzero(kept != prompt[: len(kept)])
        return int(other[0]) if len(other) else len(kept)

    def taken(self, lengths: Sequence[tuple[int, int]], rows: int, places: int) -> Cache:
        """The beginnings of conversations, of which each has a number and a length; then empty rows up to ``rows``."""
        assert self._cache is not None
        chosen, known = np.zeros((2, rows), np.int32)
        for row, (number, length) in enumerate(lengths):
            chosen[row], known[row] = self._rows[number], length
        index, there = (jnp.asarray(x) for x in self._model.everywhere((chosen, known)))

        def one(kept: jax.Array) -> jax.Array:
            return _taken(kept, index, there, places)

        return Cache(jax.tree.map(one, self._cache.keys), jax.tree.map(one, self._cache.values), there)

    def keep(self, cache: Cache, ended: Mapping[int, tuple[int, np.ndarray]]) -> None:
        """Keeps conversations, as far as there is room.

        Args:
            cache: of the slots.
            ended: for a slot, the conversation's number and the tokens that lie there.
        """
        if not ended:
            return
        self._make_room(places_for(max(len(tokens) for _, tokens in ended.values()), 0))
        if self._cache is None:
            return
        slots = np.full(self._cache.rows, -1, np.int32)
        free = sorted(set(range(len(slots))) - set(self._rows.values()), reverse=True)
        for slot, (number, tokens) in ended.items():
            if number not in self._rows and free:
                self._rows[number] = free.pop()
            if number in self._rows:
                slots[self._rows[number]], self._tokens[number] = slot, tokens
        index = self._model.everywhere(slots)
        keys = jax.tree.map(lambda old, new: _replaced(old, new, index), self._cache.keys, cache.keys)
        values = jax.tree.map(lambda old, new: _replaced(old, new, index), self._cache.values, cache.values)
        self._cache = self._cache._replace(keys=keys, values=values)

    def to_come(self, places: int) -> float:
        """Bytes of each device that are not taken yet, if conversations of so many tokens are kept."""
        model = self._model
        there = 0 if self._cache is None else self._cache.rows * self._cache.places
        taken = there / model.spread * place_bytes(model.layout, model.mesh)
        return max(kept_bytes(model, self._wanted, places, self._free) - taken, 0)

    def _row_count(self, places: int) -> int:
        return _rows(self._model, self._wanted, places, self._free)

    def _make_room(self, places: int) -> None:
        """For ``places`` tokens in every row; with longer rows, fewer of them may fit."""
        old = self._cache
        if old is None:
            if rows := self._row_count(places):
                self._cache = _empty(self._model.layout, rows, places)
            return
        count, longest = old.rows, max(places, old.places)
        fewer = min(self._row_count(longest), count)
        if longest == old.places and 2 * fewer > count:
            return
        kept = dict(list(self._rows.items())[:fewer])
        self._rows = {number: row for row, number in enumerate(kept)}
        if not fewer:
            self._cache = None
            return
        index = np.array([*kept.values(), *[0] * (fewer - len(kept))], np.int32)
        chosen, whole = self._model.everywhere((index, np.full(fewer, longest, np.int32)))
        self._cache = one_by_one(old, lambda x: _taken(x, chosen, whole, longest))


def kept_bytes(model: ServedModel, conversations: int, places: int, free: float) -> float:
    """Bytes of each device that conversations of so many tokens take where ``free`` are not taken."""
    rows = _rows(model, conversations, places, free) / model.spread
    return rows * places * place_bytes(model.layout, model.mesh)


def _rows(model: ServedModel, conversations: int, places: int, free: float) -> int:
    fitting = rows_kept(model.layout, model.mesh, places, free)
    return min(row_count(conversations, model.spread), fitting)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _empty(layout: CacheLayout, rows: int, places: int) -> Cache:
    return Cache.empty(layout, rows, places)


@partial(jax.jit, static_argnames="places")
def _taken(kept: jax.Array, rows: Array, lengths: Array, places: int) -> jax.Array:
    """The first ``lengths`` [U] tokens of ``rows`` [U], with room for ``places``; behind them are zeros, not NaN."""
    there = jnp.arange(places) < lengths[:, None]
    return held(jnp.where(there[:, :, None, None], with_places(kept[:, rows], places), 0))


@partial(jax.jit, donate_argnames="kept")
def _replaced(kept: jax.Array, written: jax.Array, slots: Array) -> jax.Array:
    """Keys or values with the rows of ``slots`` [rows] of ``written`` in place of some; -1 = the row stays.

    The whole row is another: behind its tokens nothing of the old ones is left, which might be NaN.
    """
    new = held(with_places(written[:, jnp.maximum(slots, 0)], kept.shape[2]))
    return held(jnp.where((slots >= 0)[:, None, None, None], new, kept))
