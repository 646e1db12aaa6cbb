"""Answers are written in slots, rows of a cache that take the next prompt when an answer ends: the programs.

`admit` puts prompts that were read (`reading`) into free slots, maybe several times; `advance` writes until enough
slots are free; `resized` and `compacted` make the cache longer, shorter, or smaller. All but `advance`, which would
have to ask after every token, go from array to array, by one small program. What the host decides upon is on every
device and process.

Slots that follow each other may be a group, whose answers are to one prompt: its keys and values lie there once
(`Shared`). Such slots begin together. Where every slot has a prompt of its own, groups are of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from tl_jax.inference.buckets import Room
from tl_jax.inference.choice import Array, Draw, Static, choose
from tl_jax.inference.reading import ReadPrompts, Stacks
from tl_jax.model.cache import Cache, CacheLayout, Shared, held, held_shared
from tl_jax.model.llama import GraphDef, Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import constrain

Part = TypeVar("Part", Cache, Shared)
OF_ROWS = ("cache", "hidden")
"""Parts of `Slots` that lie where their rows do."""


class Slots(NamedTuple):
    """Answers on their way, B at once; N is the most tokens of one."""

    cache: Cache
    hidden: jax.Array
    """[B, D]: the state of the newest token in the cache, from which the next one is drawn"""
    steps: jax.Array
    """int32 [B]: tokens chosen so far"""
    numbers: jax.Array
    """int32 [B]: of the prompts, for their noise"""
    done: jax.Array
    """bool [B]: nothing is written there"""
    tokens: jax.Array
    """int32 [B, N]"""
    logprobs: jax.Array
    """float32 [B, N]"""
    drawn: jax.Array
    """float32 [B, N]: log-probabilities after the filters"""


@partial(jax.jit, static_argnames=("layout", "dtype", "rows", "room", "groups", "static"))
def empty(
    layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, room: Room, groups: int, static: Static
) -> Slots:
    """``rows`` free slots in so many ``groups``; ``dtype`` is that of the computation."""
    shared = None if room.shared is None else (groups, room.shared)
    numbers, length = jnp.zeros(rows, jnp.int32), static.max_new_tokens
    return _on_all_devices(
        Slots(
            cache=Cache.empty(layout, rows, room.own, shared),
            hidden=jnp.zeros((rows, layout.config.hidden_size), dtype),
            steps=numbers,
            numbers=numbers,
            done=jnp.ones(rows, bool),
            tokens=jnp.zeros((rows, length), jnp.int32),
            logprobs=jnp.zeros((rows, length), jnp.float32),
            drawn=jnp.zeros((rows, length), jnp.float32),
        )
    )


@partial(jax.jit, static_argnames=("layout", "dtype", "rows", "places"))
def _nothing_read(layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, places: int) -> ReadPrompts:
    hidden = constrain(jnp.zeros((rows, layout.config.hidden_size), dtype), "batch", None)
    return ReadPrompts(Cache.empty(layout, rows, places), hidden)


def abstract(
    layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, room: Room, groups: int, static: Static
) -> Slots:
    """The shapes of `empty`, and where they lie on the mesh of ``jax.set_mesh``."""
    slots: Slots = _shapes(empty.lower(layout, dtype, rows, room, groups, static))
    return slots


def abstract_read(layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, places: int) -> ReadPrompts:
    """The same of what `read` gives for ``rows`` prompts of ``places`` tokens."""
    prompts: ReadPrompts = _shapes(_nothing_read.lower(layout, dtype, rows, places))
    return prompts


def _shapes(lowered: jax.stages.Lowered) -> Any:
    """Of what a program gives, with the places."""
    where = lowered.compile().output_shardings
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), lowered.out_info, where
    )


def admit(slots: Slots, prompts: ReadPrompts, rows: Array, numbers: Array) -> Slots:
    """Begins answers. Nothing of what was in their slots stays: nobody sees it, but 0 times NaN is NaN.

    Args:
        slots: no shorter than the prompts without their padding. They are used up.
        prompts: what was read of them.
        rows: int32 [B]: of ``prompts``, which each slot takes, all of a group the same; -1 = none.
        numbers: int32 [B]: of the answers that begin.
    """
    cache = slots.cache
    if cache.shared is None:
        cache = one_by_one(cache, lambda old, kept: put(old, kept, rows), prompts.cache)
    else:
        shared = one_by_one(cache.shared, lambda old, kept: put_shared(old, kept, rows), prompts.cache)
        cache = one_by_one(cache, lambda old: _cleared(old, rows))._replace(shared=shared)
    rest = _begun(_without_keys(slots), prompts.cache.lengths, prompts.hidden, rows, numbers)
    return rest._replace(cache=_with_lengths(cache, rest.cache))


@partial(jax.jit, donate_argnames="old")
def put(old: jax.Array, kept: jax.Array, rows: Array) -> jax.Array:
    """Keys or values [n, B, C, G, K] of slots with ``rows`` of those of prompts, [n, U, P, G, K]."""
    new, taken = rows >= 0, jnp.maximum(rows, 0)
    shared = constrain(kept, None, None, None, "kv_heads", None)[:, taken]  # a prompt may be another device's
    return held(jnp.where(new[:, None, None, None], with_places(held(shared), old.shape[2]), old))


@partial(jax.jit, donate_argnames="old")
def put_shared(old: jax.Array, kept: jax.Array, rows: Array) -> jax.Array:
    """What groups share [n, U, G, P, K], with the prompts that ``rows`` [B] say."""
    taken = _of_groups(rows, old.shape[1])
    prompts = constrain(kept, None, None, None, "kv_heads", None)[:, jnp.maximum(taken, 0)]
    turned = held_shared(jnp.swapaxes(with_places(prompts, old.shape[3]), 2, 3))
    return held_shared(jnp.where((taken >= 0)[:, None, None, None], turned, old))


@partial(jax.jit, donate_argnames="old")
def _cleared(old: jax.Array, rows: Array) -> jax.Array:
    """Keys or values [n, B, C, G, K] without those of slots where answers begin."""
    return held(jnp.where((rows >= 0)[:, None, None, None], 0, old))


def _of_groups(rows: jax.Array, count: int) -> jax.Array:
    """The prompts of so many groups, [U], of those of their slots, [B]; -1 = none."""
    return rows.reshape(count, -1).max(axis=1)


@partial(jax.jit, donate_argnames="slots")
def _begun(slots: Slots, lengths: jax.Array, hidden: jax.Array, rows: Array, numbers: Array) -> Slots:
    """Slots without keys and values, with ``rows`` of prompts of so many tokens, [U], and of their states, [U, D]."""
    new, taken, shared = rows >= 0, jnp.maximum(rows, 0), slots.cache.shared
    first = constrain(hidden, None, None)[taken]
    if shared is not None:
        of_groups = _of_groups(rows, len(shared.lengths))
        known = jnp.where(of_groups >= 0, lengths[jnp.maximum(of_groups, 0)], shared.lengths)
        shared = shared._replace(lengths=known)
    return _on_all_devices(
        slots._replace(
            cache=slots.cache._replace(lengths=jnp.where(new, lengths[taken], slots.cache.lengths), shared=shared),
            hidden=jnp.where(new[:, None], first, slots.hidden),
            steps=jnp.where(new, 0, slots.steps),
            numbers=jnp.where(new, numbers, slots.numbers),
            done=slots.done & ~new,
        )
    )


def _without_keys(slots: Slots) -> Slots:
    """Without keys and values; how many tokens there are stays."""
    cache = slots.cache
    shared = None if cache.shared is None else cache.shared._replace(keys=(), values=())
    return slots._replace(cache=Cache((), (), cache.lengths, shared))


def _with_lengths(cache: Cache, other: Cache) -> Cache:
    """Keys and values of one cache, and how many tokens there are in another."""
    shared = cache.shared
    if shared is not None and other.shared is not None:
        shared = shared._replace(lengths=other.shared.lengths)
    return cache._replace(lengths=other.lengths, shared=shared)


@partial(jax.jit, static_argnames=("graphdef", "static"), donate_argnames="slots")
def advance(
    graphdef: GraphDef, params: Params, stacks: Stacks, slots: Slots, enough: Array, draw: Draw, static: Static
) -> Slots:
    """Writes on in all slots, until at most ``enough`` groups still write or the cache of a slot is full."""
    model: Llama = merge(graphdef, params)

    def goes_on(slots: Slots) -> jax.Array:
        live = ~slots.done
        busy = live.reshape(slots.cache.groups, -1).any(axis=1)
        return (busy.sum() > enough) & ~(live & slots.cache.full).any()

    def step(slots: Slots) -> Slots:
        live = ~slots.done
        last, slots = _chosen(model, slots, draw, static)
        if static.max_new_tokens == 1:
            return slots  # nobody reads it
        hidden, cache = model.decode(last, slots.cache, stacks)
        return slots._replace(cache=cache._replace(lengths=cache.lengths + live), hidden=hidden)

    return _on_all_devices(jax.lax.while_loop(goes_on, step, slots))


def _chosen(model: Llama, slots: Slots, draw: Draw, static: Static) -> tuple[jax.Array, Slots]:
    """The next token of every slot, [B], and the slots with it where they are not done."""
    logits = constrain(model.next_logits(slots.hidden), "batch", None)
    chosen, live = choose(logits, slots.numbers, slots.steps, draw, static), ~slots.done
    here = live[:, None] & (jnp.arange(static.max_new_tokens) == slots.steps[:, None])
    steps = slots.steps + live
    ended = jnp.isin(chosen.tokens, draw.eos_ids) | (steps == static.max_new_tokens)
    return chosen.tokens, slots._replace(
        steps=steps,
        done=slots.done | ended,
        tokens=jnp.where(here, chosen.tokens[:, None], slots.tokens),
        logprobs=jnp.where(here, chosen.logprobs[:, None], slots.logprobs),
        drawn=jnp.where(here, chosen.drawn[:, None], slots.drawn),
    )


def resized(slots: Slots, room: Room) -> Slots:
    """The same with as much ``room``. ``slots`` are used up."""
    cache = slots.cache
    if cache.places != room.own:
        cache = one_by_one(cache, lambda kept: _resized(kept, room.own))
    if (shared := cache.shared) is not None and room.shared is not None and shared.places != room.shared:
        cache = cache._replace(shared=one_by_one(shared, lambda kept: _resized(kept, room.shared, axis=3)))
    return slots._replace(cache=cache)


def one_by_one(cache: Part, change: Callable[..., jax.Array], *others: Cache) -> Part:
    """Changed keys and values, made array by array, so that there are never two, and that one program serves all.

    Args:
        cache: its own ones are used up; a cache's `Shared` stays.
        change: of an array, and of those of ``others`` in the same place.
        others: caches of as many layers.
    """

    def one(kept: jax.Array, *beside: jax.Array) -> jax.Array:
        new = change(kept, *beside)
        kept.delete()
        return new

    keys = jax.tree.map(one, cache.keys, *(other.keys for other in others))
    return cache._replace(keys=keys, values=jax.tree.map(one, cache.values, *(other.values for other in others)))


@partial(jax.jit, static_argnames=("places", "axis"))
def _resized(kept: jax.Array, places: int, axis: int = 2) -> jax.Array:
    return (held if axis == 2 else held_shared)(with_places(kept, places, axis))


def with_places(x: jax.Array, places: int, axis: int = 2) -> jax.Array:
    """Keys or values [n, B, C, G, K] with another C, or of `Shared` with another P, which is axis 3."""
    more = places - x.shape[axis]
    if more <= 0:
        return jax.lax.slice_in_dim(x, 0, places, axis=axis)
    return jnp.pad(x, [(0, more if number == axis else 0) for number in range(x.ndim)])


def compacted(slots: Slots, groups: Array, rows: Array) -> Slots:
    """Fewer slots. Uses ``slots`` up.

    Args:
        slots: B in U groups, on D devices.
        groups: int32 [D, u]: which of each device's U / D groups are left, counted on that device.
        rows: int32 [D, b]: the slots of these, counted on that device.
    """
    cache = one_by_one(slots.cache, lambda kept: _fewer(kept, rows))
    if cache.shared is not None:
        cache = cache._replace(shared=one_by_one(cache.shared, lambda kept: _fewer_shared(kept, groups)))
    rest = _rest_compacted(_without_keys(slots), groups, rows)
    return rest._replace(cache=_with_lengths(cache, rest.cache))


@jax.jit
def _fewer(kept: jax.Array, rows: Array) -> jax.Array:
    return held(jax.vmap(partial(_chosen_rows, rows=rows))(kept))


@jax.jit
def _fewer_shared(kept: jax.Array, groups: Array) -> jax.Array:
    return held_shared(jax.vmap(partial(_chosen_rows, rows=groups))(kept))


@jax.jit
def _rest_compacted(slots: Slots, groups: Array, rows: Array) -> Slots:
    shared = jax.tree.map(partial(_chosen_rows, rows=groups), slots.cache.shared)
    alone = slots._replace(cache=slots.cache._replace(shared=None))
    fewer: Slots = jax.tree.map(partial(_chosen_rows, rows=rows), alone)
    return _on_all_devices(fewer._replace(cache=fewer.cache._replace(shared=shared)))


def _chosen_rows(x: jax.Array, rows: Array) -> jax.Array:
    own = x.reshape(len(rows), -1, *x.shape[1:])
    return jax.vmap(lambda part, index: part[index])(own, rows).reshape(rows.size, *x.shape[1:])


def _on_all_devices(slots: Slots) -> Slots:
    """With what the host looks at, all but keys, values and hidden states."""
    lengths = jax.tree.map(lambda x: constrain(x, None), _without_keys(slots).cache)
    cache = _with_lengths(slots.cache, lengths)
    seen = {name: constrain(x, *(None,) * x.ndim) for name, x in slots._asdict().items() if name not in OF_ROWS}
    return Slots(cache=cache, hidden=constrain(slots.hidden, "batch", None), **seen)
