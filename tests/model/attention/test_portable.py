"""Portable attention against its definition written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from tests.model.attention.inputs import branched_mask, inputs, packed_mask
from tl_jax.config import MeshConfig
from tl_jax.model.attention import AttentionMask, attention, portable
from tl_jax.model.attention import blocks as by_blocks_module
from tl_jax.model.attention.blocks import by_blocks, row_by_row
from tl_jax.model.sharding import make_mesh, partition_spec

blocks = jax.jit(by_blocks, static_argnums=4)


def by_definition(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> np.ndarray:
    """One query at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    positions, segment_ids = np.asarray(mask.positions), np.asarray(mask.segment_ids)
    out = np.zeros_like(query)
    for row, slot, head in np.ndindex(query.shape[:3]):
        group = head // (query.shape[2] // key.shape[2])
        seen = (segment_ids[row] == segment_ids[row, slot]) & (positions[row] <= positions[row, slot])
        if mask.branches is not None:
            branches = np.asarray(mask.branches)
            seen &= np.isin(branches[row], (0, branches[row, slot]))
        scores = key[row, seen, group] @ query[row, slot, head] / np.sqrt(query.shape[3])
        weights = np.exp(scores - scores.max())
        out[row, slot, head] = weights / weights.sum() @ value[row, seen, group]
    return out


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("chunk", [512, 7])
def test_it_is_the_definition(groups: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "CHUNK", chunk)
    arrays, mask = inputs(2, 24, 4, groups, 8), packed_mask(2, 24)
    np.testing.assert_allclose(attention(*arrays, mask), by_definition(*arrays, mask), atol=1e-5)


@pytest.mark.parametrize("many", [1, 10**6], ids=["by stripes", "by products"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_one_query_of_many_keys_is_the_definition(groups: int, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "MANY", many)
    (query, key, value), mask = inputs(2, 32, 4, groups, 8), packed_mask(2, 32)
    expected = by_definition(query, key, value, mask)
    for slot in (0, 13, 23):
        own = slice(slot, slot + 1)
        alone = AttentionMask(mask.positions[:, own], mask.segment_ids[:, own], mask.positions, mask.segment_ids)
        np.testing.assert_allclose(attention(query[:, own], key, value, alone), expected[:, own], atol=1e-5)


@pytest.mark.parametrize("chunk", [512, 3])
def test_branches_see_their_beginning_and_not_each_other(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each branch gets what it gets in a row of its own, behind a beginning of its own."""
    monkeypatch.setattr(portable, "CHUNK", chunk)
    arrays, mask = inputs(2, 24, 4, 2, 8), branched_mask(2, 24)
    out = np.asarray(attention(*arrays, mask))
    np.testing.assert_allclose(out, by_definition(*arrays, mask), atol=1e-5)
    for branch in (1, 2, 3):
        alone = np.flatnonzero((mask.segment_ids[1] == 1) & np.isin(mask.branches[1], (0, branch)))
        apart = AttentionMask.within(jnp.arange(len(alone))[None], jnp.ones((1, len(alone)), jnp.int32))
        expected = by_definition(*(x[1:, alone] for x in arrays), apart)
        np.testing.assert_allclose(out[1, alone], expected[0], atol=1e-5)


@pytest.mark.parametrize("make_mask", [packed_mask, branched_mask])
def test_chunked_gradients_are_those_of_the_whole(
    make_mask: Callable[[int, int], AttentionMask], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, mask = inputs(2, 24, 4, 2, 8), make_mask(2, 24)

    def gradients() -> tuple[jax.Array, ...]:
        total = jax.grad(lambda *x: jnp.sin(attention(*x, mask)).sum(), argnums=(0, 1, 2))
        return jax.jit(total)(*arrays)

    whole = gradients()
    monkeypatch.setattr(portable, "CHUNK", 3)  # smaller than a branch, so that blocks between two are left out
    for ours, expected in zip(gradients(), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("queries", "keys"), [(7, 24), (24, 7)])
def test_gradients_of_rows_at_once_whose_queries_are_not_as_many_as_their_keys(queries: int, keys: int) -> None:
    """As accelerators compute them: all rows of a pair of blocks together, some of which see nothing of it."""
    (query, key, value), whole = inputs(2, 24, 4, 2, 8), packed_mask(2, 24)
    query, key, value = query[:, -queries:], key[:, :keys], value[:, :keys]
    mask = AttentionMask(
        whole.positions[:, -queries:],
        whole.segment_ids[:, -queries:],
        whole.positions[:, :keys],
        whole.segment_ids[:, :keys].at[0].set(3),
    )
    sees = mask.dense().any(axis=-1)[:, :, None, None]
    assert 0 < sees.sum() < sees.size

    def gradients(attend: Callable[..., jax.Array]) -> tuple[jax.Array, ...]:
        total = jax.grad(lambda *x: jnp.sin(jnp.where(sees, attend(*x, mask), 0)).sum(), argnums=(0, 1, 2))
        return jax.jit(total)(query, key, value)

    for ours, expected in zip(gradients(partial(by_blocks, size=5)), gradients(attention), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_long_rows_never_hold_all_scores() -> None:
    """Neither forward nor backward has an array of rows x heads x T x T."""
    length = 4096
    query = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    mask = AttentionMask(*(jax.ShapeDtypeStruct((1, length), jnp.int32),) * 4)
    step = jax.grad(lambda q, mask: attention(q, q, q, mask).sum())
    memory = jax.jit(step).lower(query, mask).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2 * length * length * 4


@pytest.mark.parametrize("scores", [7 * 24, 7 * 24 - 1])
def test_few_queries_behind_many_keys(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last seven tokens of rows are what they are in the whole rows, and never have more scores than allowed."""
    monkeypatch.setattr(portable, "MOST_SCORES", scores)
    (query, key, value), order = inputs(2, 24, 4, 2, 8), jnp.broadcast_to(jnp.arange(24), (2, 24))
    whole = by_definition(query, key, value, AttentionMask.within(order, jnp.ones_like(order)))
    last = AttentionMask(order[:, -7:], jnp.ones((2, 7), jnp.int32), order, jnp.ones_like(order))
    np.testing.assert_allclose(attention(query[:, -7:], key, value, last), whole[:, -7:], atol=1e-5)
    made = jax.make_jaxpr(lambda *x: attention(*x, last))(query[:, -7:], key, value)
    assert ("7,24]" in str(made)) == (scores == 7 * 24)


def test_no_device_asks_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and heads are cut over a mesh, forward and backward, and nothing goes around."""
    monkeypatch.setattr(portable, "CHUNK", 7)
    arrays, mask = inputs(4, 24, 4, 2, 8), packed_mask(4, 24)

    def gradients(*x: jax.Array) -> tuple[jax.Array, ...]:
        return jax.grad(lambda *x: jnp.sin(attention(*x, mask)).sum(), argnums=(0, 1, 2))(*x)

    alone = jax.jit(gradients)(*arrays)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    with jax.set_mesh(mesh):
        cut = NamedSharding(mesh, partition_spec("batch", None, "heads", None))
        compiled = jax.jit(gradients, out_shardings=cut).lower(*jax.device_put(arrays, cut)).compile()
        together = compiled(*jax.device_put(arrays, cut))
    for name in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert name not in compiled.as_text()
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("sees", ["causal", "packed", "left", "nothing"])
def test_blocks_that_nobody_sees_are_left_out(sees: str) -> None:
    """NaN in keys that no query sees would show in the output if a block of theirs were computed."""
    length, size = 64, 16
    query, key, value = inputs(1, length, 2, 1, 8)
    slots = np.arange(length)
    ids = {"packed": 1 + slots // 32, "left": slots >= 40, "nothing": slots < 0}.get(sees, np.ones(length))
    positions = slots % 32 if sees == "packed" else slots
    mask = AttentionMask.within(jnp.asarray(positions[None], jnp.int32), jnp.asarray(ids[None], jnp.int32))
    if sees == "nothing":
        mask = mask._replace(key_segment_ids=mask.segment_ids + 1)
    queries = slice(48, 64) if sees in ("packed", "left") else slice(0, 16)
    unseen = {"packed": slots < 32, "left": slots < 32, "nothing": slots >= 0}.get(sees, slots >= 16)
    broken = jnp.where(unseen[None, :, None, None], jnp.nan, key)
    mask = mask._replace(positions=mask.positions[:, queries], segment_ids=mask.segment_ids[:, queries])
    out, expected = (blocks(query[:, queries], x, value, mask, n) for x, n in ((broken, size), (key, length)))
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_each_row_leaves_out_its_own_blocks() -> None:
    """What one row of a batch does not see is not computed because another row sees it."""
    query, key, value = inputs(2, 32, 2, 1, 8)
    ids = jnp.asarray([np.ones(32), 1 + np.arange(32) // 16], jnp.int32)
    slots = jnp.tile(jnp.arange(32, dtype=jnp.int32), (2, 1))
    mask = AttentionMask.within(slots, ids)
    mask = mask._replace(positions=mask.positions[:, 16:], segment_ids=mask.segment_ids[:, 16:])
    broken = key.at[1, :16].set(jnp.nan)
    out, expected = (row_by_row(query[:, 16:], x, value, mask, n) for x, n in ((broken, 16), (key, 32)))
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(("dtype", "most"), [("float32", 24), ("float32", 23), ("bfloat16", 24)])
def test_a_block_is_what_stands_at_its_index(dtype: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut out: which way depends on the dtype and on how many numbers there are."""
    monkeypatch.setattr(by_blocks_module, "_MOST", most)
    x = jnp.arange(24, dtype=dtype).reshape(4, 3, 2)
    for index in range(4):
        np.testing.assert_array_equal(by_blocks_module._block((x,), jnp.int32(index))[0], x[index])


@pytest.mark.parametrize("chunk", [512, 7])
def test_padding_and_queries_without_keys_are_finite(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "CHUNK", chunk)
    arrays = inputs(1, 24, 2, 1, 8)
    nowhere = jnp.zeros((1, 24), jnp.int32)
    padding = AttentionMask.within(nowhere, nowhere)
    no_keys = padding._replace(key_segment_ids=jnp.full((1, 24), 3))

    def total(*x: jax.Array) -> jax.Array:
        return attention(*x, padding).sum() + attention(*x, no_keys).sum()

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*arrays)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_statistics_are_float32_for_bfloat16_inputs() -> None:
    """256 equal keys: a bfloat16 sum of their weights could not count beyond 256 or would round the mean."""
    length = 1024
    value = jnp.concatenate([jnp.ones((1, length // 2, 1, 2)), jnp.zeros((1, length // 2, 1, 2))], axis=1)
    mask = AttentionMask.within(jnp.arange(length)[None], jnp.ones((1, length), jnp.int32))
    zeros = jnp.zeros((1, length, 1, 2), jnp.bfloat16)
    out = attention(zeros, zeros, value.astype(jnp.bfloat16), mask)
    assert out.dtype == jnp.bfloat16
    assert float(out[0, -1, 0, 0]) == 0.5
