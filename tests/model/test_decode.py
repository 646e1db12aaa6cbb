"""Reading prompts and decoding with a cache: which attention backend sees what. Tokens are tested by `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.model.tiny import SIZES
from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.inference.serving import _stacks
from tl_jax.model.attention import AttentionMask, portable
from tl_jax.model.cache import Cache
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import Llama, abstract_params, init_params, make_graphdef, merge
from tl_jax.model.parameters import Params

CONFIG = LlamaConfig.from_hf({**SIZES, "model_type": "llama", "num_key_value_heads": 2})


def read(model: Llama, tokens: jax.Array, lengths: jax.Array, stacks: Sequence[Params]) -> tuple[jax.Array, Cache]:
    """By all layers."""
    x, caches = model.embedded(tokens), list[Cache]()
    for number, stack in enumerate(stacks):
        x, cache = model.read(x, lengths, stack, jnp.float32, number == len(stacks) - 1)
        caches.append(cache)
    keys, values = (tuple(getattr(cache, name)[0] for cache in caches) for name in ("keys", "values"))
    return x, Cache(keys, values, lengths)


def test_only_prompts_are_read_by_the_models_backend() -> None:
    """In all layers but the last, of which one token is computed; into a cache that holds something, `xla` reads."""
    seen: list[tuple[int, int]] = []

    def spy(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
        seen.append((query.shape[1], key.shape[1]))
        return portable.portable(query, key, value, mask)

    graphdef = make_graphdef(CONFIG, dtype=jnp.float32, attention="spy")
    places = [(0, 0), (0, 0), (0, 3), (0, 0), (0, 0)]

    def run(params: dict[str, object], tokens: jax.Array) -> jax.Array:
        model, stacks = merge(graphdef, params), _stacks(params, jnp.float32, 1, False)[1]
        _, cache = read(model, tokens, jnp.full(len(tokens), 6), stacks)
        assert seen == [(6, 6)] * (CONFIG.num_layers - 1)
        keys, values = (tuple(jnp.pad(x, places) for x in kept) for kept in (cache.keys, cache.values))
        hidden, _ = model.decode(tokens[:, 0], cache._replace(keys=keys, values=values), stacks)
        return hidden

    with BACKENDS.added(Backend("spy", spy, "anything", "this test")):
        jax.eval_shape(run, abstract_params(CONFIG), jax.ShapeDtypeStruct((2, 6), jnp.int32))
    assert seen == [(6, 6)] * (CONFIG.num_layers - 1)


def test_of_the_last_layer_only_the_last_token_is_computed() -> None:
    """Prompts and what comes behind them give what a loop of all layers gives, which computes every token of each: the
    same states, keys and values, with fewer operations."""
    graphdef, key = make_graphdef(CONFIG, dtype=jnp.float32), jax.random.key(0)
    params, tokens = init_params(CONFIG, key), jax.random.randint(key, (3, 24), 0, CONFIG.vocab_size)
    first, rest = jnp.array([10, 1, 16]), jnp.array([8, 3, 0])

    @partial(jax.jit, static_argnames="loop")
    def run(params: Params, loop: int) -> list[jax.Array]:
        model, stacks = merge(graphdef, params), _stacks(params, jnp.float32, loop, False)[1]
        begun, cache = read(model, tokens[:, :16], first, stacks)
        cache = jax.tree.map(
            lambda x: jnp.pad(x, [(0, 0), (0, 0), (0, 8), (0, 0), (0, 0)]) if x.ndim == 5 else x, cache
        )
        hidden, longer = model.embedded(tokens[:, 16:]), list[Cache]()
        for number, stack in enumerate(stacks):
            own = Cache((cache.keys[number],), (cache.values[number],), cache.lengths)
            hidden, own = model.extend(hidden, rest, own, stack, number == len(stacks) - 1)
            longer.append(own)
        kept = [jnp.concatenate([own.keys[0] for own in longer]), jnp.concatenate([own.values[0] for own in longer])]
        return [begun, hidden, *kept]

    for alone, looped in zip(run(params, 1), run(params, CONFIG.num_layers), strict=True):
        np.testing.assert_allclose(alone, looped, rtol=1e-4, atol=1e-5)

    @jax.jit
    def prompts(params: Params) -> Any:
        return read(merge(graphdef, params), tokens, first, _stacks(params, jnp.float32, 1, False)[1])

    matrices = sum(leaf.size for leaf in params["layers"].values())
    assert prompts.lower(params).cost_analysis()["flops"] < 2 * tokens.size * matrices
