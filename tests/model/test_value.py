"""The critic: a language model without its head, and one vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tests.model.tiny import forward, random_params, unpacked
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef, merge, split
from tl_jax.model.value import ValueModel, make_value_graphdef, value_params

CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    initializer_range=0.2,
)
BATCH = unpacked(np.arange(20).reshape(2, 10))


def test_values_are_the_head_times_the_llamas_hidden_states() -> None:
    llama = random_params(CONFIG)
    params = value_params(llama)
    assert "lm_head" in llama
    assert "lm_head" not in params["backbone"]
    graphdef = make_value_graphdef(CONFIG, dtype=jnp.float32)
    assert not forward(graphdef, params, *BATCH).any()  # nothing learnt, nothing promised
    head = np.linspace(-1, 1, 32, dtype=np.float32)
    values = forward(graphdef, {**params, "value_head": jnp.asarray(head)}, *BATCH)
    llama_graphdef = make_graphdef(CONFIG, dtype=jnp.float32)
    hidden = jax.jit(lambda p: merge(llama_graphdef, p).hidden(*BATCH))(llama)
    assert values.shape == (2, 10)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, np.asarray(hidden) @ head, rtol=1e-4, atol=1e-5)


def test_head_and_backbone_learn() -> None:
    graphdef = make_value_graphdef(CONFIG, dtype=jnp.float32)
    params = value_params(random_params(CONFIG))
    step = jax.jit(jax.grad(lambda p: ((merge(graphdef, p)(*BATCH) - 1) ** 2).sum()))
    first = step(params)
    assert np.abs(first["value_head"]).max() > 0
    assert not np.any(first["backbone"]["layers"]["q"])  # no gradient passes a head of zeros
    second = step({**params, "value_head": -0.01 * first["value_head"]})
    assert np.abs(second["backbone"]["layers"]["q"]).max() > 0


def test_structure() -> None:
    graphdef, params = split(ValueModel(CONFIG, value_params(random_params(CONFIG)), dtype=jnp.float32))
    assert graphdef == make_value_graphdef(CONFIG, dtype=jnp.float32)
    assert jax.tree.structure(params) == jax.tree.structure(value_params(random_params(CONFIG)))
