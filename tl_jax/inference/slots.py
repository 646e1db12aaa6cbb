"""The compiled programs of generation. Answers are written in slots, rows of a cache that take the next prompt when an
answer ends.

`read` reads prompts, once each, `extend` those whose beginning is kept; `admit` puts what was read into free slots,
maybe several times; `advance` writes until enough slots are free; `resized` and `compacted` make the cache longer,
shorter, or smaller. All but `advance`, which would have to ask after every token, go from layer to layer: one small
program for all of them, as accelerators' compilers take as long as layers are many. What the host decides upon is on
every device and process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tl_jax.inference.choice import Array, Draw, Static, choose
from tl_jax.model.cache import Cache, CacheLayout, held
from tl_jax.model.kv_dtype import Numbers
from tl_jax.model.llama import GraphDef, Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import constrain

Stacks = tuple[Params, ...]
OF_ROWS = ("cache", "hidden")
"""Parts of `Slots` that lie where their rows do."""


class Prompts(NamedTuple):
    """Prompts as arrays."""

    tokens: Array
    """int32 [U, P], padding behind them"""
    lengths: Array
    """int32 [U]; 0 = a row that only fills up the batch"""


class ReadPrompts(NamedTuple):
    """What a model keeps of U prompts."""

    cache: Cache
    hidden: jax.Array
    """[U, D]: the state of the last token, from which the first of every answer is drawn"""


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


@partial(jax.jit, static_argnames=("layout", "dtype", "rows", "places", "static"))
def empty(layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, places: int, static: Static) -> Slots:
    """``rows`` free slots, with room for ``places`` tokens; ``dtype`` is that of the computation."""
    numbers, length = jnp.zeros(rows, jnp.int32), static.max_new_tokens
    return _on_all_devices(
        Slots(
            cache=Cache.empty(layout, rows, places),
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


def abstract(layout: CacheLayout, dtype: jax.typing.DTypeLike, rows: int, places: int, static: Static) -> Slots:
    """The shapes of `empty`, and where they lie on the mesh of ``jax.set_mesh``."""
    slots: Slots = _shapes(empty.lower(layout, dtype, rows, places, static))
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


def read(
    graphdef: GraphDef, params: Params, stacks: Stacks, prompts: Prompts, dtype: jax.typing.DTypeLike
) -> ReadPrompts:
    """Prompts, each once, however many answers there are to it; ``dtype`` is that of the cache."""
    x, caches = _embedded(graphdef, params, prompts.tokens), []
    for number, stack in enumerate(stacks, 1):
        x, cache = read_stack(graphdef, params, stack, x, prompts.lengths, dtype, last=number == len(stacks))
        caches.append(cache)
    return ReadPrompts(_of_stacks(caches), x)


@partial(jax.jit, static_argnames="graphdef")
def _embedded(graphdef: GraphDef, params: Params, tokens: Array) -> jax.Array:
    model: Llama = merge(graphdef, params)
    return model.embedded(tokens)


@partial(jax.jit, static_argnames=("graphdef", "dtype", "last"))
def read_stack(
    graphdef: GraphDef,
    params: Params,
    stack: Params,
    x: jax.Array,
    lengths: Array,
    dtype: jax.typing.DTypeLike,
    last: bool,
) -> tuple[jax.Array, Cache]:
    """`Llama.read`: one program for all stacks that are alike, but for the last."""
    model: Llama = merge(graphdef, params)
    x, cache = model.read(x, lengths, stack, dtype, last)
    return constrain(x, "batch", *(None,) * (x.ndim - 1)), cache


def extend(graphdef: GraphDef, params: Params, stacks: Stacks, cache: Cache, prompts: Prompts) -> ReadPrompts:
    """What follows the prompts' beginnings, which are in ``cache``; with room for the padding, too; it is used up."""
    x, caches = _embedded(graphdef, params, prompts.tokens), []
    for number, (stack, keys, values) in enumerate(zip(stacks, cache.keys, cache.values, strict=True), 1):
        last = number == len(stacks)
        x, longer = _extend_stack(graphdef, params, stack, x, prompts.lengths, keys, values, cache.lengths, last)
        caches.append(longer)
    return ReadPrompts(_of_stacks(caches), x)


@partial(jax.jit, static_argnames=("graphdef", "last"), donate_argnames=("keys", "values"))
def _extend_stack(
    graphdef: GraphDef,
    params: Params,
    stack: Params,
    x: jax.Array,
    lengths: Array,
    keys: Numbers,
    values: Numbers,
    known: jax.Array,
    last: bool,
) -> tuple[jax.Array, Cache]:
    model: Llama = merge(graphdef, params)
    x, cache = model.extend(x, lengths, Cache((keys,), (values,), known), stack, last)
    return constrain(x, "batch", *(None,) * (x.ndim - 1)), cache


def _of_stacks(caches: Sequence[Cache]) -> Cache:
    keys, values = (tuple(kept for cache in caches for kept in getattr(cache, name)) for name in ("keys", "values"))
    return Cache(keys, values, caches[-1].lengths)


def admit(slots: Slots, prompts: ReadPrompts, rows: Array, numbers: Array) -> Slots:
    """Begins answers. Nothing of what was in their slots stays: nobody sees it, but 0 times NaN is NaN.

    Args:
        slots: no shorter than the prompts without their padding. They are used up.
        prompts: what was read of them.
        rows: int32 [B]: of ``prompts``, which each slot takes; -1 = none.
        numbers: int32 [B]: of the answers that begin.
    """
    cache = one_by_one(slots.cache, lambda old, kept: put(old, kept, rows), prompts.cache)
    rest = _begun(_without_cache(slots), prompts.cache.lengths, prompts.hidden, rows, numbers)
    return rest._replace(cache=cache._replace(lengths=rest.cache.lengths))


@partial(jax.jit, donate_argnames="old")
def put(old: jax.Array, kept: jax.Array, rows: Array) -> jax.Array:
    """Keys or values [n, B, C, G, K] of slots with ``rows`` of those of prompts, [n, U, P, G, K]."""
    new, taken = rows >= 0, jnp.maximum(rows, 0)
    shared = constrain(kept, None, None, None, "kv_heads", None)[:, taken]  # a prompt may be another device's
    return held(jnp.where(new[:, None, None, None], with_places(held(shared), old.shape[2]), old))


@partial(jax.jit, donate_argnames="slots")
def _begun(slots: Slots, lengths: jax.Array, hidden: jax.Array, rows: Array, numbers: Array) -> Slots:
    """Slots without keys and values, with ``rows`` of prompts of so many tokens, [U], and of their states, [U, D]."""
    new, taken = rows >= 0, jnp.maximum(rows, 0)
    first = constrain(hidden, None, None)[taken]
    return _on_all_devices(
        slots._replace(
            cache=slots.cache._replace(lengths=jnp.where(new, lengths[taken], slots.cache.lengths)),
            hidden=jnp.where(new[:, None], first, slots.hidden),
            steps=jnp.where(new, 0, slots.steps),
            numbers=jnp.where(new, numbers, slots.numbers),
            done=slots.done & ~new,
        )
    )


def _without_cache(slots: Slots) -> Slots:
    """But for how long it is."""
    return slots._replace(cache=Cache((), (), slots.cache.lengths))


@partial(jax.jit, static_argnames=("graphdef", "static"), donate_argnames="slots")
def advance(
    graphdef: GraphDef, params: Params, stacks: Stacks, slots: Slots, enough: Array, draw: Draw, static: Static
) -> Slots:
    """Writes on in all slots, until at most ``enough`` of them still write or the cache of one is full."""
    model: Llama = merge(graphdef, params)

    def goes_on(slots: Slots) -> jax.Array:
        live = ~slots.done
        return (live.sum() > enough) & ~(live & (slots.cache.lengths >= slots.cache.places)).any()

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


def resized(slots: Slots, places: int) -> Slots:
    """The same with room for ``places`` tokens. ``slots`` are used up."""
    if slots.cache.places == places:
        return slots
    return slots._replace(cache=one_by_one(slots.cache, lambda kept: _resized(kept, places)))


def one_by_one(cache: Cache, change: Callable[..., jax.Array], *others: Cache) -> Cache:
    """A changed cache, made array by array, so that there are never two, and that one program serves all arrays.

    Args:
        cache: is used up.
        change: of an array, and of those of ``others`` in the same place.
        others: caches of as many layers.
    """

    def one(kept: jax.Array, *beside: jax.Array) -> jax.Array:
        new = change(kept, *beside)
        kept.delete()
        return new

    keys = jax.tree.map(one, cache.keys, *(other.keys for other in others))
    return cache._replace(keys=keys, values=jax.tree.map(one, cache.values, *(other.values for other in others)))


@partial(jax.jit, static_argnames="places")
def _resized(kept: jax.Array, places: int) -> jax.Array:
    return held(with_places(kept, places))


def with_places(x: jax.Array, places: int) -> jax.Array:
    """Keys or values [n, B, C, G, K] with another C."""
    more = places - x.shape[2]
    return jnp.pad(x, [(0, 0), (0, 0), (0, more), (0, 0), (0, 0)]) if more > 0 else x[:, :, :places]


def compacted(slots: Slots, rows: Array) -> Slots:
    """Fewer slots: of each device's B / D the ones in ``rows`` [D, b], counted on that device. Uses ``slots`` up."""
    cache = one_by_one(slots.cache, lambda kept: _fewer(kept, rows))
    rest = _rest_compacted(_without_cache(slots), rows)
    return rest._replace(cache=cache._replace(lengths=rest.cache.lengths))


@jax.jit
def _fewer(kept: jax.Array, rows: Array) -> jax.Array:
    return held(jax.vmap(partial(_chosen_rows, rows=rows))(kept))


@jax.jit
def _rest_compacted(slots: Slots, rows: Array) -> Slots:
    return _on_all_devices(jax.tree.map(partial(_chosen_rows, rows=rows), slots))


def _chosen_rows(x: jax.Array, rows: Array) -> jax.Array:
    own = x.reshape(len(rows), -1, *x.shape[1:])
    return jax.vmap(lambda part, index: part[index])(own, rows).reshape(rows.size, *x.shape[1:])


def _on_all_devices(slots: Slots) -> Slots:
    """With what the host looks at, all but keys, values and hidden states."""
    cache = slots.cache._replace(lengths=constrain(slots.cache.lengths, None))
    seen = {name: constrain(x, *(None,) * x.ndim) for name, x in slots._asdict().items() if name not in OF_ROWS}
    return Slots(cache=cache, hidden=constrain(slots.hidden, "batch", None), **seen)
