"""The TPU kernel in its reference interpretation against the portable backend."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info
from jax.sharding import NamedSharding

from tests.model.attention.inputs import branched_mask, inputs, packed_mask
from tl_jax.config import MeshConfig
from tl_jax.model.attention import AttentionError, AttentionMask, attention, dispatch, splash
from tl_jax.model.sharding import make_mesh, partition_spec
from tl_jax.plan.machine import PlanError, open_machine

interpreted = partial(splash.splash, interpret=True)


@pytest.mark.parametrize(
    ("mask", "groups", "head_dim"),
    [
        (packed_mask(2, 200), 1, 64),
        (branched_mask(2, 384, scale=20), 1, 64),
        (branched_mask(2, 520, scale=20, padding=140), 2, 128),
        (branched_mask(1, 4096, scale=200, padding=300), 1, 64),
    ],
    ids=["packed", "branches", "branches, and blocks of padding", "branches in the largest blocks, computed by halves"],
)
def test_forward_and_gradient(mask: AttentionMask, groups: int, head_dim: int) -> None:
    """Rows with padding, of any length; beginnings of branches are longer than a block."""
    arrays = inputs(*mask.segment_ids.shape, 2, groups, head_dim)
    real = np.asarray(mask.segment_ids)[:, :, None, None] > 0

    def run(backend: Callable[..., jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        def total(*x: jax.Array) -> jax.Array:
            return (jnp.sin(backend(*x, mask)) * real).sum()

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(*arrays)

    ours, expected = run(interpreted), run(attention)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-5)
    for left, right in zip(ours[1], expected[1], strict=True):
        np.testing.assert_allclose(left, right, atol=2e-4)


@pytest.mark.parametrize("make_mask", [packed_mask, branched_mask])
def test_on_a_mesh(make_mask: Callable[[int, int], AttentionMask]) -> None:
    arrays, mask = inputs(4, 128, 2, 2, 128), make_mask(4, 128)
    expected = attention(*arrays, mask)
    with jax.set_mesh(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))):
        ours = jax.jit(interpreted)(*arrays, mask)
    real = np.asarray(mask.segment_ids) > 0
    np.testing.assert_allclose(np.asarray(ours)[real], np.asarray(expected)[real], atol=2e-4)


def test_what_it_cannot_do_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, mask = inputs(1, 24, 2, 1, 8), packed_mask(1, 24)
    with pytest.raises(AttentionError, match="'splash' needs a TPU, not 'cpu'"):
        attention(*arrays, mask, "splash")
    cache = mask._replace(key_positions=mask.positions[:, :12], key_segment_ids=mask.segment_ids[:, :12])
    query, key, value = arrays
    monkeypatch.setattr(splash, "platform", lambda: "tpu")
    with pytest.raises(AttentionError, match="'splash' needs queries and keys of the same tokens, not 24 and 12"):
        attention(query, key[:, :12], value[:, :12], cache, "splash")
    monkeypatch.setattr(splash, "MOST_SLOTS", 16)
    with pytest.raises(AttentionError, match="takes 16 tokens at most where segments have branches, not 24"):
        attention(query, key, value, branched_mask(1, 24), "splash")


def test_a_jax_whose_kernels_are_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows with branches are the portable backend's then, and others still splash's."""
    caplog.set_level(logging.INFO, "tl_jax")
    arrays, mask = inputs(1, 24, 2, 1, 8), branched_mask(1, 24)
    monkeypatch.setattr(splash, "platform", lambda: "tpu")
    assert splash.why_not(*arrays, mask) is None
    monkeypatch.setattr(splash_attention_mask_info, "MaskInfo", lambda block_mask: None)
    splash._tell_of_branches.cache_clear()
    assert splash.why_not(*arrays, packed_mask(1, 24)) is None
    monkeypatch.setattr(dispatch, "platform", lambda: "tpu")
    np.testing.assert_array_equal(attention(*arrays, mask, "auto"), attention(*arrays, mask))
    [said] = caplog.messages
    assert said.startswith(
        f"attention runs as xla: splash of JAX {jax.__version__} takes no segments with branches (TypeError: "
    )
    assert "unexpected keyword argument 'data_next'" in said


def test_a_passing_fault_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, mask = inputs(1, 24, 2, 1, 8), branched_mask(1, 24)
    monkeypatch.setattr(splash, "platform", lambda: "tpu")
    splash._tell_of_branches.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(splash_attention_mask_info, "MaskInfo", Mock(side_effect=MemoryError("no room")))
        assert str(splash.why_not(*arrays, mask)).endswith("takes no segments with branches (MemoryError: no room)")
    assert splash.why_not(*arrays, mask) is None


def test_blocks_divide_the_length() -> None:
    sizes = {length: splash.block_size(length) for length in (128, 384, 2048, 4096, 8192 + 256)}
    assert sizes == {128: 128, 384: 128, 2048: 512, 4096: 1024, 8192 + 256: 256}


def test_pairs_of_blocks_fit_a_tpus_memory_for_scalars() -> None:
    """Two int32 for each block of queries and of keys, which are there twice."""
    for length in range(1, splash.MOST_SLOTS + 1):
        slots = splash.slots(length, branched=True)
        blocks = slots // splash.block_size(slots)
        assert 0 <= slots - length < max(128, length / 16)
        assert blocks * 2 * blocks * 8 < 1 << 18
    assert splash.slots(8192 + 129, branched=False) == 8192 + 256


@pytest.mark.slow
@pytest.mark.parametrize("branched", [False, True])
def test_the_compiler_of_tpus_takes_it(branched: bool) -> None:
    """The largest blocks, forward and both backward kernels, each device two rows of its own."""
    try:
        machine = open_machine("v5e:2x4")
    except PlanError as missing:
        pytest.skip(str(missing))
    rows = NamedSharding(make_mesh(MeshConfig(), machine.devices), partition_spec("batch"))
    query, key = (jax.ShapeDtypeStruct((16, 4096, heads, 64), jnp.bfloat16, sharding=rows) for heads in (2, 1))
    ids = jax.ShapeDtypeStruct((16, 4096), jnp.int32, sharding=rows)

    def total(query: jax.Array, key: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        mask = AttentionMask.within(positions, segment_ids, segment_ids if branched else None)
        return attention(query, key, key, mask, "auto").astype(jnp.float32).sum()

    with jax.set_mesh(rows.mesh):
        text = jax.jit(jax.grad(total, argnums=(0, 1))).lower(query, key, ids, ids).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 3
    assert "all-gather" not in text
