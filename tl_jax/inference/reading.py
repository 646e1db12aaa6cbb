"""Prompts are read: the compiled programs, which go from layer to layer.

One small program serves all layers but the last: accelerators' compilers take as long as layers are many, and there are
programs for every number and length of prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from tl_jax.inference.buckets import bucket, row_count
from tl_jax.inference.choice import Array
from tl_jax.model.cache import Cache
from tl_jax.model.kv_dtype import Numbers
from tl_jax.model.llama import GraphDef, Llama, merge
from tl_jax.model.parameters import Params
from tl_jax.model.sharding import constrain

Stacks = tuple[Params, ...]


class Prompts(NamedTuple):
    """Prompts as arrays."""

    tokens: Array
    """int32 [U, P], padding behind them"""
    lengths: Array
    """int32 [U]; 0 = a row that only fills up the batch"""


def in_rows(prompts: Sequence[np.ndarray], spread: int) -> Prompts:
    """Prompts as arrays, in a multiple of ``spread`` rows."""
    rows = row_count(len(prompts), spread)
    tokens = np.zeros((rows, bucket(max(map(len, prompts)), smallest=16)), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return Prompts(tokens, np.array([*map(len, prompts), *[0] * (rows - len(prompts))], np.int32))


class ReadPrompts(NamedTuple):
    """What a model keeps of U prompts."""

    cache: Cache
    hidden: jax.Array
    """[U, D]: the state of the last token, from which the first of every answer is drawn"""


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
    for number, (stack, *own) in enumerate(zip(stacks, cache.keys, cache.values, strict=True), 1):
        last = number == len(stacks)
        x, longer = _extend_stack(graphdef, params, stack, x, prompts.lengths, own, cache.lengths, last)
        caches.append(longer)
    return ReadPrompts(_of_stacks(caches), x)


@partial(jax.jit, static_argnames=("graphdef", "last"), donate_argnames="own")
def _extend_stack(
    graphdef: GraphDef,
    params: Params,
    stack: Params,
    x: jax.Array,
    lengths: Array,
    own: Sequence[Numbers],
    known: jax.Array,
    last: bool,
) -> tuple[jax.Array, Cache]:
    """`Llama.extend` of a stack's ``own`` keys and values, of ``known`` tokens; apart, since only those are used up."""
    model: Llama = merge(graphdef, params)
    keys, values = own
    x, cache = model.extend(x, lengths, Cache((keys,), (values,), known), stack, last)
    return constrain(x, "batch", *(None,) * (x.ndim - 1)), cache


def _of_stacks(caches: Sequence[Cache]) -> Cache:
    keys, values = (tuple(kept for cache in caches for kept in getattr(cache, name)) for name in ("keys", "values"))
    return Cache(keys, values, caches[-1].lengths)
