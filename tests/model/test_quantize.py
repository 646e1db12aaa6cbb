"""Matrices in 8 or 4 bits: how near they come, and that no stack of them is ever made whole."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.model.tiny import forward, unpacked
from tests.training.helpers import TINY, assert_trees_close
from tl_jax.config import ConfigError, LoraConfig, MeshConfig
from tl_jax.model.fingerprint import fingerprint
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.model.lora import abstract_adapters, adapt, adaptable, adapted_shapes
from tl_jax.model.parameters import Params, assemble
from tl_jax.model.quantize import NF4, SCALE, dequantize, quantize, quantize_params
from tl_jax.model.sharding import make_mesh, shard_tree

KINDS = ("int8", "nf4")
TOKENS = np.random.default_rng(0).integers(3, 96, (2, 24)).astype(np.int32)


def test_the_values_of_nf4_are_quantiles_of_a_normal_distribution() -> None:
    """Eight upwards and seven downwards between 1/2 and the paper's offset, and 0; the largest is 1."""
    offset = (1 - 1 / 30 + 1 - 1 / 32) / 2
    upper = [NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    lower = [-NormalDist().inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    expected = np.sort([*lower, 0.0, *upper]) / max(upper)
    np.testing.assert_allclose(NF4, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axis"), [((128, 3, 4), 0), ((2, 6, 192), 2), ((32, 5), 0)])
def test_every_value_has_the_nearest_code(kind: Any, shape: tuple[int, ...], axis: int) -> None:
    matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    matrix[(slice(None),) * axis + (slice(16),)] *= 3
    matrix[tuple(slice(None) if i == axis else 0 for i in range(len(shape)))] = 0  # a block of nothing
    codes, scale = quantize(jnp.asarray(matrix), kind, axis)
    block = min(64, shape[axis])
    assert scale.dtype == jnp.bfloat16
    assert scale.shape[axis] == shape[axis] // block
    assert codes.nbytes == matrix.size // (1 if kind == "int8" else 2)
    values = np.asarray(NF4) if kind == "nf4" else np.arange(-127, 128) / 127
    wide = np.repeat(np.asarray(scale, np.float32), block, axis)
    nearest = np.abs(matrix[..., None] - wide[..., None] * values).min(-1)
    got = np.asarray(dequantize(codes, scale, jnp.float32))
    np.testing.assert_allclose(np.abs(matrix - got), nearest, atol=1e-5)
    assert (np.abs(matrix) <= wide * (1 + 2**-8)).all()


def dense(base: Params) -> Params:
    """The same model with its matrices in float32."""
    leaves = flatten_dict(base, sep=".")
    for path in [path.removesuffix(SCALE) for path in leaves if path.endswith(SCALE)]:
        scale = leaves.pop(path + SCALE)
        leaves[path] = jnp.stack([dequantize(*layer, jnp.float32) for layer in zip(leaves[path], scale, strict=True)])
    return unflatten_dict(leaves, sep=".")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_computes_with_the_matrices_that_the_codes_stand_for(kind: Any) -> None:
    """Forward and backward; near the model that they were made of, the nearer the more bits."""
    lora = LoraConfig(rank=3, quantize=kind)
    params = init_params(TINY, jax.random.key(0))
    adapters, base = adapt(params, jax.random.key(1), TINY, lora)
    adapters = jax.tree.map(lambda x: x + 0.1, adapters)

    def loss(adapters: Params, base: Params, lora: LoraConfig, remat: Any) -> jax.Array:
        graphdef = make_graphdef(TINY, lora, dtype=jnp.float32, remat=remat)
        return jnp.mean(jax.nn.log_softmax(forward(graphdef, assemble(adapters, base), *unpacked(TOKENS)))[..., 5])

    plain = lora.model_copy(update={"quantize": None})
    exact = jax.value_and_grad(partial(loss, lora=plain, remat="block"))
    expected, (original, _) = exact(adapters, dense(base)), exact(adapters, params)
    assert_trees_close(jax.value_and_grad(loss)(adapters, base, lora, "none"), expected, rtol=1e-4)
    assert 0 < abs(expected[0] - original) < (0.02 if kind == "int8" else 0.3) * abs(original)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "remat"), [("int8", "none"), ("nf4", "block")])
def test_a_step_never_holds_a_stack_of_whole_matrices(kind: Any, remat: Any) -> None:
    """A gradient of adapters needs hardly more beside its arguments than with whole matrices, and these are smaller."""
    config = replace(TINY, num_layers=16, hidden_size=128, intermediate_size=512)
    stack = 4 * 16 * 128 * 512

    def memory(lora: LoraConfig) -> Any:
        graphdef = make_graphdef(config, lora, dtype=jnp.float32, remat=remat)
        adapters, everything = abstract_adapters(config, lora), flatten_dict(adapted_shapes(config, lora))
        base = unflatten_dict({name: everything[name] for name in everything.keys() - flatten_dict(adapters).keys()})

        def loss(adapters: Params, base: Params) -> jax.Array:
            return jnp.mean(merge(graphdef, assemble(adapters, base)).hidden(*unpacked(TOKENS[:, :8])))

        return jax.jit(jax.grad(loss)).lower(adapters, base).compile().memory_analysis()

    whole, coded = memory(LoraConfig(rank=2)), memory(LoraConfig(rank=2, quantize=kind))
    assert coded.temp_size_in_bytes < whole.temp_size_in_bytes + stack / 4
    assert coded.argument_size_in_bytes < (0.3 if kind == "int8" else 0.2) * whole.argument_size_in_bytes


def test_codes_lie_where_their_matrix_does_and_are_the_same_everywhere() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    make = jax.jit(partial(quantize_params, matrices=adaptable(TINY), kind="nf4"))
    params = init_params(TINY, jax.random.key(0))
    one, spread = make(params), make(shard_tree(params, mesh))
    assert fingerprint(spread) == fingerprint(one)
    placed = shard_tree(one, mesh)["layers"]
    assert tuple(placed["q"].sharding.spec) == (None, "fsdp", "tensor", None)
    assert tuple(placed["down_scale"].sharding.spec) == (None, "tensor", None)


def test_a_width_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora\.quantize=nf4: hidden_size=40 is no multiple of 16"):
        adapted_shapes(replace(TINY, hidden_size=40), LoraConfig(rank=1, quantize="nf4"))
