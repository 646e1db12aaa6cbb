"""Matrices side by side in one, against each by itself. Whole models: tests/inference/test_generate.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import SIZES
from tl_jax.config import LoraConfig, MeshConfig
from tl_jax.inference.serving import _stacks, for_generation
from tl_jax.model import operations
from tl_jax.model.config import LlamaConfig
from tl_jax.model.joined import GATE_UP, PARTS, QKV, join, products
from tl_jax.model.llama import make_graphdef
from tl_jax.model.lora import adapt
from tl_jax.model.parameters import assemble, init_params
from tl_jax.model.sharding import make_mesh, shard_tree

CONFIG = LlamaConfig.from_hf({**SIZES, "model_type": "qwen2", "num_key_value_heads": 2})
APART = {part for parts in PARTS.values() for part in parts}


@pytest.mark.parametrize("rows", [3, 40])
def test_each_product_is_that_of_its_matrix(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By stripes and not; heads of queries and of keys are not as many."""
    monkeypatch.setattr(operations, "WIDE", 64)
    layers = init_params(CONFIG, jax.random.key(0))["layers"]
    x = jax.random.normal(jax.random.key(1), (rows, 1, CONFIG.hidden_size))
    joined = jax.tree.map(lambda leaf: leaf[1], join(layers))
    assert not APART & joined.keys()
    for name in (QKV, GATE_UP):
        made = products(x, joined, name, CONFIG)
        assert list(made) == list(PARTS[name])
        for part, out in made.items():
            exact = np.tensordot(np.asarray(x, np.float64), np.asarray(layers[part][1], np.float64), 1)
            np.testing.assert_allclose(out, exact, atol=1e-5)
    assert products(x, layers, QKV, CONFIG) == {}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a processor's")
@pytest.mark.parametrize(
    ("options", "devices", "joined"),
    [
        ({"dtype": jnp.float32}, None, True),
        ({"dtype": jnp.float32}, 1, True),
        ({"dtype": jnp.float32}, 2, False),
        ({"dtype": jnp.bfloat16}, None, False),
    ],
)
def test_where_they_are_joined(options: dict[str, Any], devices: int | None, joined: bool) -> None:
    params, mesh = init_params(CONFIG, jax.random.key(0)), None
    if devices is not None:
        mesh = make_mesh(MeshConfig(fsdp=devices), jax.devices()[:devices])
        params = shard_tree(params, mesh)
    (first, *_) = for_generation(make_graphdef(CONFIG, **options), params, mesh).stacks
    assert (QKV in first, GATE_UP in first, not APART & first.keys()) == (joined,) * 3


def test_codes_stay_apart() -> None:
    lora = LoraConfig(rank=3, quantize="int8")
    layers = assemble(*adapt(init_params(CONFIG, jax.random.key(0)), jax.random.key(1), CONFIG, lora))["layers"]
    assert join(layers).keys() == layers.keys()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a processor's")
def test_joining_keeps_nothing_besides() -> None:
    """Not a second copy of all layers, which would be half of the model."""
    config = LlamaConfig.from_hf(
        {**SIZES, "model_type": "llama", "num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 1024}
    )
    params = init_params(config, jax.random.key(0))
    laid_out = jax.jit(partial(_stacks, dtype=jnp.float32, loop=1, join=True)).lower(params).compile()
    one_layer = 4 * sum(params["layers"][part][0].size for part in APART)
    assert laid_out.memory_analysis().temp_size_in_bytes < one_layer
