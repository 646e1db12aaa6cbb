"""The model against transformers, and against itself: packed, unrolled, rematerialised, sharded."""

from __future__ import annotations

import dataclasses
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import SIZES, VARIANTS, forward, hf_logits, hf_model, load, random_params, unpacked
from tl_jax.config import MeshConfig
from tl_jax.config.model import Loops
from tl_jax.model.config import LlamaConfig
from tl_jax.model.families import FAMILIES
from tl_jax.model.llama import Llama, abstract_params, make_graphdef, merge, split
from tl_jax.model.parameters import init_params
from tl_jax.model.remat import kept_numbers
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import batch_sharding, make_mesh, shard_tree

CONFIG = LlamaConfig.from_hf({**SIZES, "model_type": "llama", "num_key_value_heads": 2, "initializer_range": 0.2})


def random_tokens(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SIZES["vocab_size"], shape).astype(np.int32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_transformers(variant: str, tmp_path: Path) -> None:
    theirs = hf_model(variant)
    config, params = load(theirs, tmp_path)
    tokens = random_tokens(2, 80)  # well beyond the 16 positions of the scaled variant's original context
    expected = hf_logits(theirs, tokens)
    ours = forward(make_graphdef(config, dtype=jnp.float32), params, *unpacked(tokens))
    assert np.abs(expected).max() > 1  # logits that differ at all
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


def test_bfloat16_is_near_float32() -> None:
    tokens = random_tokens(2, 24)
    params = random_params(CONFIG)
    exact = forward(make_graphdef(CONFIG, dtype=jnp.float32), params, *unpacked(tokens))
    rough = forward(make_graphdef(CONFIG, dtype=jnp.bfloat16), params, *unpacked(tokens))
    assert rough.dtype == jnp.float32
    correlation = np.corrcoef(exact.ravel(), rough.ravel())[0, 1]
    assert 0.999 < correlation < 1.0


def test_split_and_merge() -> None:
    graphdef, params = split(Llama(CONFIG, random_params(CONFIG), dtype=jnp.float32))
    assert make_graphdef(CONFIG, dtype=jnp.float32) == graphdef
    assert hash(make_graphdef(CONFIG, dtype=jnp.float32)) == hash(graphdef)
    assert make_graphdef(CONFIG, dtype=jnp.bfloat16) != graphdef
    abstract = abstract_params(CONFIG)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(lambda x: (x.shape, x.dtype), abstract)
    assert type(params["layers"]) is dict
    again, same = split(merge(graphdef, params))
    assert again == graphdef
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_initial_values() -> None:
    params = init_params(CONFIG, jax.random.key(3), embedding_std=2.0)
    assert float(params["embed"]["embedding"].std()) == pytest.approx(2.0, rel=0.05)
    assert float(params["layers"]["gate"].std()) == pytest.approx(0.2, rel=0.05)
    assert (params["layers"]["attn_norm"] == 1).all()
    assert not np.array_equal(params["layers"]["gate"], params["layers"]["up"])
    backbone = init_params(CONFIG, jax.random.key(3), lm_head=False)
    np.testing.assert_array_equal(backbone["layers"]["q"], params["layers"]["q"])
    assert "lm_head" not in backbone


def test_an_unknown_token_is_seen() -> None:
    model = merge(make_graphdef(CONFIG, dtype=jnp.float32), random_params(CONFIG))
    assert np.isnan(model(*unpacked(np.asarray([[1, 2, 96]])))[0, 2]).all()


def loss(
    graphdef: Any, params: Any, tokens: jax.Array, positions: jax.Array, segments: jax.Array, weights: jax.Array
) -> jax.Array:
    """Weighted cross-entropy of the next token, in the plainest way."""
    logits = merge(graphdef, params)(tokens, positions, segments)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.roll(tokens, -1, axis=1)[..., None], axis=-1)
    return -(picked[..., 0] * weights).sum()


value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)


def assert_trees_close(left: Any, right: Any, rtol: float = 1e-5) -> None:
    """Relative to the largest entry of each leaf: single entries may cancel to nothing."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.abs(b).max())), left, right
    )


def packed_and_apart() -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Three sequences in one row of 48, next to two rows of padding, and in a row each, padded at the end.

    tokens, positions, segments and weights [3, 48] of both.
    """
    packed, apart = np.zeros((2, 4, 3, 48), np.float32)
    start = 0
    for number, length in enumerate((17, 9, 14)):
        weights = np.linspace(0.1, number + 1, length)
        weights[-1] = 0  # its next token is another sequence's
        sequence = (random_tokens(length, seed=number), np.arange(length), np.full(length, number + 1), weights)
        packed[:, 0, start : start + length] = sequence
        apart[:, number, :length] = sequence
        start += length

    def arrays(rows: np.ndarray) -> tuple[jax.Array, ...]:
        return (*(jnp.asarray(row, jnp.int32) for row in rows[:3]), jnp.asarray(rows[3]))

    return arrays(packed), arrays(apart)


@pytest.mark.parametrize("chunk", [512, 8])
def test_packed_is_unpacked(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_jax.model.attention.portable.CHUNK", chunk)
    graphdef = make_graphdef(CONFIG, dtype=jnp.float32, remat="dots" if chunk == 8 else "block")
    params = random_params(CONFIG)
    packed, apart = packed_and_apart()
    traced_now = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)  # with this chunk, not from a cache
    assert_trees_close(traced_now(graphdef, params, *packed), traced_now(graphdef, params, *apart))


@lru_cache
def plain_gradient(config: LlamaConfig) -> Any:
    graphdef = make_graphdef(config, dtype=jnp.float32, remat="none", loops=Loops(training=False))
    return value_and_grad(graphdef, random_params(config), *packed_and_apart()[1])


def of_family(architecture: str, **changes: Any) -> LlamaConfig:
    return dataclasses.replace(CONFIG, architecture=architecture, **changes)


@pytest.mark.parametrize(
    ("architecture", "remat", "scan"),
    [
        ("llama", "none", True),
        ("llama", "block", True),
        ("llama", "dots", False),
        ("llama", "attention", True),
        *((family, "dots", True) for family in FAMILIES),
        ("qwen3", "none", True),
        ("qwen3", "block", True),
    ],
)
def test_remat_and_scan_change_nothing(architecture: str, remat: str, scan: bool) -> None:
    config = of_family(architecture)
    graphdef = make_graphdef(config, dtype=jnp.float32, remat=remat, loops=Loops(training=scan))
    ours = value_and_grad(graphdef, random_params(config), *packed_and_apart()[1])
    assert_trees_close(ours, plain_gradient(config), rtol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "remat", "scan"),
    [("llama", "block", False), pytest.param("qwen3", "none", True, marks=pytest.mark.slow)],
)
def test_the_last_layer_computes_what_is_wanted_of_it(architecture: str, remat: str, scan: bool) -> None:
    """Same hidden states there and the same gradient, for less work; in the other rows nothing is wanted."""
    config = of_family(architecture)
    graphdef = make_graphdef(config, dtype=jnp.float32, remat=remat, loops=Loops(training=scan))
    *inputs, weights = packed_and_apart()[0]
    mask = (weights > 1) & (inputs[1] > 5)
    most = 2 + int(mask.sum(axis=1).max())  # some that are not wanted, too

    def wanted(params: Any, few: bool) -> tuple[jax.Array, jax.Array]:
        of_all = merge(graphdef, params).hidden(*inputs, None, Wanted.where(mask, most) if few else None)
        hidden = jnp.where(mask[..., None], of_all, 0)
        return jnp.sin(hidden).sum(), hidden

    gradient = jax.jit(jax.value_and_grad(wanted, has_aux=True), static_argnums=1)
    params = random_params(config)
    few, whole = (gradient.lower(params, few) for few in (True, False))
    assert_trees_close(few.compile()(params), whole.compile()(params))
    if not scan:  # else the layers of the loop count as one
        assert few.cost_analysis()["flops"] < 0.85 * whole.cost_analysis()["flops"]


def products(jaxpr: Any) -> np.ndarray:
    """Products with weights in a program, those of attention, which alone have a batch axis, and those with a vector,
    which add up the gradient of a norm's scale."""
    count = np.zeros(3, int)
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            _, (left_batch, _) = equation.params["dimension_numbers"]
            vector = min(operand.aval.ndim for operand in equation.invars) == 1
            count[2 if vector else int(bool(left_batch))] += 1
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            count += products(inner)
    return count


def products_in_gradient(config: LlamaConfig, remat: str) -> tuple[int, ...]:
    batch = (*unpacked(random_tokens(2, 8)), jnp.ones((2, 8)))
    graphdef = make_graphdef(config, dtype=jnp.float32, remat=remat)
    gradient = jax.grad(lambda params: loss(graphdef, params, *batch))
    return tuple(products(jax.make_jaxpr(gradient)(abstract_params(config)).jaxpr))


@pytest.mark.parametrize("family", FAMILIES)
def test_dots_computes_no_product_with_a_weight_again(family: str) -> None:
    """A layer has 7 of them and 14 for their gradients, 2 products in attention and 4 for theirs.

    ``dots`` computes only the scores of attention again, ``attention`` gate and up besides, ``block`` all but the last
    product of a layer. Each norm's scale has one for its gradient, whatever is computed again; `rotary.rotation` two
    with the identity, once.
    """
    config, others = of_family(family), 3 + 2  # the head and its two gradients, and the rotation
    in_gradient = partial(products_in_gradient, config)
    norms = 1 + sum(name.endswith("norm") for name in abstract_params(config)["layers"])
    assert in_gradient("none") == (21 + others, 6, norms)
    assert in_gradient("dots") == (21 + others, 7, norms)
    assert in_gradient("attention") == (23 + others, 7, norms)
    assert in_gradient("block") == (27 + others, 8, norms)


def test_dots_never_computes_long_rows_attention_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By blocks it is 2 products and 6 for the gradients, the scores' and outputs times their gradients among them."""
    monkeypatch.setattr("tl_jax.model.attention.portable.CHUNK", 2)
    in_gradient = partial(products_in_gradient, CONFIG)
    assert [in_gradient(remat)[1] for remat in ("none", "dots", "attention", "block")] == [8, 8, 8, 10]


def test_remat_keeps_what_it_says() -> None:
    """Numbers that the backward pass holds: the levels differ by what `kept_numbers` says of each token."""
    params = random_params(CONFIG)
    batch = (*unpacked(random_tokens(4, 64)), jnp.ones((4, 64)))

    def held(remat: str) -> int:
        graphdef = make_graphdef(CONFIG, dtype=jnp.float32, remat=remat)
        _, residuals = jax.vjp(lambda p: loss(graphdef, p, *batch), params)
        return sum(leaf.size for leaf in jax.tree.leaves(residuals))

    tokens, block = 4 * 64, held("block")
    for remat in ("attention", "dots"):
        assert held(remat) - block == tokens * (kept_numbers(remat, CONFIG) - kept_numbers("block", CONFIG))
    assert held("none") > held("dots")


def eight_rows() -> tuple[jax.Array, ...]:
    """The packed row eight times, with other tokens in each."""
    tokens, *others = (jnp.tile(x[:1], (8, 1)) for x in packed_and_apart()[0])
    return ((tokens + jnp.arange(8)[:, None]) % SIZES["vocab_size"], *others)


@lru_cache
def one_device_gradient(config: LlamaConfig) -> Any:
    return value_and_grad(make_graphdef(config, dtype=jnp.float32), random_params(config), *eight_rows())


@pytest.mark.parametrize(
    ("data", "fsdp", "tensor", "config"),
    [
        (8, 1, 1, CONFIG),
        (1, 8, 1, CONFIG),
        (2, 2, 2, CONFIG),
        (1, 4, 2, CONFIG),
        (2, 2, 2, of_family("llama", tie_word_embeddings=True)),
        (1, 8, 1, of_family("qwen3")),
        (1, 4, 2, of_family("qwen3", tie_word_embeddings=True)),
    ],
)
def test_sharded_is_single_device(data: int, fsdp: int, tensor: int, config: LlamaConfig) -> None:
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    graphdef = make_graphdef(config, dtype=jnp.float32)
    with jax.set_mesh(mesh):
        batch = jax.device_put(eight_rows(), batch_sharding(mesh))
        ours = jax.block_until_ready(value_and_grad(graphdef, shard_tree(random_params(config), mesh), *batch))
    assert_trees_close(ours, one_device_gradient(config))
