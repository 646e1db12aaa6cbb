"""Reading prompts and decoding with a cache: which attention backend sees what. Tokens are tested by `generate`."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.model.tiny import SIZES
from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.inference.serving import _stacks
from tl_jax.model.attention import AttentionMask, portable
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import abstract_params, init_params, make_graphdef, merge
from tl_jax.model.parameters import Params

CONFIG = LlamaConfig.from_hf({**SIZES, "model_type": "llama", "num_key_value_heads": 2})


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
        _, cache = model.read(tokens, jnp.full(len(tokens), 6), stacks, jnp.float32)
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
        begun, cache = model.read(tokens[:, :16], first, stacks, jnp.float32)
        cache = jax.tree.map(
            lambda x: jnp.pad(x, [(0, 0), (0, 0), (0, 8), (0, 0), (0, 0)]) if x.ndim == 5 else x, cache
        )
        hidden, longer = model.extend(tokens[:, 16:], rest, cache, stacks)
        kept = [jnp.concatenate(stack) for stack in (longer.keys, longer.values)]
        return [begun, hidden, *kept]

    for alone, looped in zip(run(params, 1), run(params, CONFIG.num_layers), strict=True):
        np.testing.assert_allclose(alone, looped, rtol=1e-4, atol=1e-5)
    read = jax.jit(
        lambda params: merge(graphdef, params).read(tokens, first, _stacks(params, jnp.float32, 1, False)[1], "float32")
    )
    matrices = sum(leaf.size for leaf in params["layers"].values())
    assert read.lower(params).cost_analysis()["flops"] < 2 * tokens.size * matrices
