"""Weights as they lie for answers: where each part goes, and that decoding never sends one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.helpers import TINY
from tl_jax.config import LoraConfig, MeshConfig, SamplingConfig
from tl_jax.config.model import Loops
from tl_jax.inference.engine import Ends
from tl_jax.inference.generate import generate
from tl_jax.inference.lowered import Lowered
from tl_jax.inference.serving import abstract_served, for_generation, serving_mesh
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import make_graphdef
from tl_jax.model.lora import adapt, init_adapters
from tl_jax.model.parameters import abstract_params, assemble, init_params
from tl_jax.model.sharding import make_mesh, param_shardings, replicated, shard_tree
from tl_jax.plan.hlo import collectives

MODEL = LlamaConfig(
    vocab_size=63,  # odd: whole on every device
    hidden_size=256,
    intermediate_size=512,
    num_layers=1,
    num_heads=16,
    num_kv_heads=8,
    head_dim=16,
)
GRAPHDEF = make_graphdef(MODEL, dtype=jnp.float32)


@dataclass(frozen=True)
class Gpu:
    """What JAX looks at: eight in a host."""

    id: int

    @property
    def slice_index(self) -> int:
        return self.id // 8


def placed(mesh: jax.sharding.Mesh, model: LlamaConfig) -> dict[str, object]:
    """Shapes of the parameters where training has them; of an odd vocabulary, ``tensor`` is 1 there."""
    shapes = abstract_params(model)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        param_shardings(shapes, mesh),
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_decoding_sends_no_weights(layers: int) -> None:
    """Neither does a device hold more of a matrix than its share, nor is one as large as any matrix gathered; with
    several layers in one loop, too."""
    mesh, model = make_mesh(MeshConfig(fsdp=8)), replace(MODEL, num_layers=layers)
    served = abstract_served(
        make_graphdef(model, dtype=jnp.float32, loops=Loops(decode=layers)), placed(mesh, model), mesh
    )
    assert served.mesh is not None
    assert dict(served.mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 8}
    (stack,) = served.stacks
    for name, leaf in stack.items():
        share = 1 if name.endswith("norm") else 8
        assert math.prod(leaf.sharding.shard_shape(leaf.shape)) == math.prod(leaf.shape) / share
    text = Lowered(served, 8, 16, SamplingConfig(max_new_tokens=8)).advance().compile().as_text()
    found = collectives(text, served.mesh.shape, unknown_loop=8)
    assert {one.kind for one in found} & {"all-reduce"}
    smallest = 4 * min(math.prod(leaf.shape) for leaf in stack.values() if leaf.ndim > 2) / layers
    largest = max((one.sent / one.times for one in found if one.kind == "all-gather"), default=0.0)
    assert largest < smallest / 8


@pytest.mark.parametrize(
    ("sizes", "heads", "there"),
    [
        ({"fsdp": 8}, (16, 8), (1, 1, 8)),
        ({"fsdp": 8}, (16, 2), (4, 1, 2)),
        ({"fsdp": 8}, (14, 7), (8, 1, 1)),
        ({"data": 2, "fsdp": 4}, (16, 4), (2, 1, 4)),
        ({"data": 2, "fsdp": 2, "tensor": 2}, (16, 8), (2, 1, 4)),
        ({"data": 8, "fsdp": 1}, (16, 8), (8, 1, 1)),
    ],
)
def test_as_many_devices_share_a_copy_as_divide_its_heads(
    sizes: dict[str, int], heads: tuple[int, int], there: tuple[int, ...]
) -> None:
    mesh = make_mesh(MeshConfig(**sizes))
    model = SimpleNamespace(num_heads=heads[0], num_kv_heads=heads[1])
    found = serving_mesh(mesh, model)  # type: ignore[arg-type]
    assert found.devices.shape == there
    assert found.devices.ravel().tolist() == mesh.devices.ravel().tolist()


def test_a_copy_does_not_span_hosts() -> None:
    """Of 16 GPUs, eight in a host, the heads would divide over all."""
    devices = np.array([Gpu(number) for number in range(16)], object)
    mesh = SimpleNamespace(
        devices=devices.reshape(1, 16, 1), shape={"data": 1, "fsdp": 16, "tensor": 1}, axis_types=None
    )
    model = SimpleNamespace(num_heads=32, num_kv_heads=32)
    assert serving_mesh(mesh, model).devices.shape == (2, 1, 8)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_odd_vocabulary_and_adapters_answer_alike_on_a_mesh() -> None:
    mesh, lora = make_mesh(MeshConfig(data=2, fsdp=4)), LoraConfig(rank=4)
    params = init_params(MODEL, jax.random.key(0))
    adapters = jax.tree.map(lambda leaf: leaf + 0.02, init_adapters(MODEL, lora, jax.random.key(1)))
    adapted = assemble(adapters, params)
    graphdef = make_graphdef(MODEL, lora, dtype=jnp.float32)
    prompts, sampling = [[5, 6, 7], [8], [9, 10]], SamplingConfig(max_new_tokens=6, temperature=1.0)
    alone, spread, bare = (
        generate(model, prompts, sampling, jax.random.key(3), Ends())
        for model in (
            for_generation(graphdef, adapted),
            for_generation(graphdef, shard_tree(adapted, mesh), mesh),
            for_generation(GRAPHDEF, params),
        )
    )
    np.testing.assert_array_equal(spread.tokens, alone.tokens)
    np.testing.assert_allclose(spread.logprobs, alone.logprobs, atol=1e-4)
    assert not np.allclose(bare.logprobs, alone.logprobs, atol=1e-2)
    with jax.set_mesh(mesh):  # as in training, whose key comes out of a step: on the mesh that answers do not use
        key = jax.device_put(jax.random.key(3), replicated(mesh))
        served = for_generation(graphdef, shard_tree(adapted, mesh), mesh)
        trained = generate(served, prompts, sampling, key, Ends())
    np.testing.assert_array_equal(trained.tokens, alone.tokens)


@pytest.mark.slow
def test_layers_in_loops_with_codes_adapters_and_one_table() -> None:
    """A loop takes from its stack whatever a layer has: codes, their scales, adapters."""
    tied, lora = replace(TINY, tie_word_embeddings=True), LoraConfig(rank=3, quantize="nf4")
    adapters, base = adapt(init_params(tied, jax.random.key(0)), jax.random.key(1), tied, lora)
    adapted = assemble(jax.tree.map(lambda leaf: leaf + 0.1, adapters), base)
    sampling = SamplingConfig(max_new_tokens=6, temperature=1.0)
    alone, looped = (
        generate(for_generation(graphdef, adapted), [[5, 6, 7], [8], [9, 10]], sampling, jax.random.key(3), Ends())
        for graphdef in (make_graphdef(tied, lora, dtype=jnp.float32, loops=Loops(decode=loop)) for loop in (1, 2))
    )
    np.testing.assert_array_equal(looped.tokens, alone.tokens)
    np.testing.assert_allclose(looped.logprobs, alone.logprobs, atol=1e-5)


def test_the_next_weights_of_a_model_are_not_traced_anew() -> None:
    one, other = (init_params(MODEL, jax.random.key(seed)) for seed in (0, 1))
    assert abstract_served(GRAPHDEF, one, None) is abstract_served(GRAPHDEF, other, None)
    assert abstract_served(GRAPHDEF, one, None) is not abstract_served(GRAPHDEF, one, None, "int8")
