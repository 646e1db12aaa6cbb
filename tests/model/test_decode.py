"""Reading prompts and decoding with a cache: which attention backend sees what. Tokens are tested by `generate`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tests.model.tiny import SIZES
from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.inference.serving import _stacks
from tl_jax.model.attention import AttentionMask, portable
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import abstract_params, make_graphdef, merge

CONFIG = LlamaConfig.from_hf({**SIZES, "model_type": "llama", "num_key_value_heads": 2})


def test_only_prompts_are_read_by_the_models_backend() -> None:
    """All layers give it the prompt's keys; into a cache that holds something, tokens are read by `xla`."""
    seen: list[tuple[int, int]] = []

    def spy(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
        seen.append((query.shape[1], key.shape[1]))
        return portable.portable(query, key, value, mask)

    graphdef = make_graphdef(CONFIG, dtype=jnp.float32, attention="spy")
    places = [(0, 0), (0, 0), (0, 3), (0, 0), (0, 0)]

    def run(params: dict[str, object], tokens: jax.Array) -> jax.Array:
        model, stacks = merge(graphdef, params), _stacks(params, jnp.float32, 1)[1]
        _, cache = model.read(tokens, jnp.full(len(tokens), 6), stacks, jnp.float32)
        assert seen == [(6, 6)] * CONFIG.num_layers
        keys, values = (tuple(jnp.pad(x, places) for x in kept) for kept in (cache.keys, cache.values))
        hidden, _ = model.decode(tokens[:, 0], cache._replace(keys=keys, values=values), stacks)
        return hidden

    with BACKENDS.added(Backend("spy", spy, "anything", "this test")):
        jax.eval_shape(run, abstract_params(CONFIG), jax.ShapeDtypeStruct((2, 6), jnp.int32))
    assert seen == [(6, 6)] * CONFIG.num_layers
