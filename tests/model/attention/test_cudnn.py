"""What cuDNN cannot do is an error; what surrounds its kernel is tried with another in its place, and compiled for GPUs
where their compiler is. What the kernel itself computes needs a GPU: benchmarks/attention.py."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from tests.model.attention.inputs import inputs, packed_mask
from tl_jax.config import MeshConfig
from tl_jax.model.attention import AttentionError, AttentionMask, attention, cudnn
from tl_jax.model.attention.mask import KEPT
from tl_jax.model.sharding import make_mesh, partition_spec
from tl_jax.plan.machine import PlanError, open_machine


def test_it_needs_a_gpu() -> None:
    with pytest.raises(AttentionError, match="'cudnn' needs an NVIDIA GPU, not 'cpu'"):
        attention(*inputs(1, 24, 2, 1, 8), packed_mask(1, 24), "cudnn")


@pytest.mark.parametrize(
    ("dtype", "capability", "length", "head_dim", "said"),
    [
        ("float32", (9, 0), 24, 8, "computes in bfloat16, not float32; use 'auto' or 'xla'"),
        ("bfloat16", (7, 5), 24, 8, "compute capability 8.0"),
        ("bfloat16", (8, 0), 25, 8, "even length, not 25 x 25"),
        ("float16", (8, 0), 24, 192, "head sizes that are multiples of 8 up to 128, not 192"),
    ],
)
def test_what_it_cannot_do_is_said(
    dtype: str, capability: tuple[int, int], length: int, head_dim: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cudnn, "platform", lambda: "gpu")
    monkeypatch.setattr(cudnn, "compute_capability", lambda: capability)
    arrays = [x.astype(dtype) for x in inputs(1, length, 2, 1, head_dim)]
    with pytest.raises(AttentionError, match=f"attention 'cudnn' .*{re.escape(said)}"):
        attention(*arrays, packed_mask(1, length), "cudnn")


def as_cudnn_does(
    query: jax.Array, key: jax.Array, value: jax.Array, starts: jax.Array, lengths: jax.Array
) -> jax.Array:
    """Segments of these starts and lengths; all other slots, and their gradients, are never written: NaN."""
    slots = jnp.arange(query.shape[1])[None, :, None]
    within = (slots >= starts[:, None]) & (slots < (starts + lengths)[:, None]) & (starts >= 0)[:, None]
    ids = jnp.sum(within * jnp.arange(1, starts.shape[1] + 1), axis=2, dtype=jnp.int32)
    order = jnp.broadcast_to(jnp.arange(query.shape[1]), ids.shape)
    real = (ids > 0)[:, :, None, None]
    out = attention(*(with_gradient_in(x, real) for x in (query, key, value)), AttentionMask.within(order, ids))
    return jnp.where(real, out, jnp.nan)


@jax.custom_vjp
def with_gradient_in(x: jax.Array, real: jax.Array) -> jax.Array:
    return x


with_gradient_in.defvjp(lambda x, real: (x, real), lambda real, given: (jnp.where(real, given, jnp.nan), None))


@pytest.mark.parametrize("most", [2, 1])
@pytest.mark.parametrize("rows_at_once", [4, 2])
def test_padding_rows_and_too_many_segments(most: int, rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of two segments and padding, all at once or two by two; by the mask if only one segment is handed over."""
    arrays, mask = inputs(4, 24, 4, 2, 8), packed_mask(4, 24)
    monkeypatch.setattr(cudnn, "most_segments", lambda length: most)
    monkeypatch.setattr(cudnn, "WORKSPACE", rows_at_once * most * 24 * 4 * 8 * 4)
    monkeypatch.setattr(cudnn, "compute_capability", lambda: (9, 0))
    monkeypatch.setattr(cudnn, "_fused", as_cudnn_does if most == 2 else lambda query, *_: query * jnp.nan)
    monkeypatch.setattr(cudnn, "by_mask", attention)
    real = (mask.segment_ids > 0)[:, :, None, None]

    def run(backend: Callable[..., jax.Array]) -> tuple[jax.Array, ...]:
        def total(*x: jax.Array) -> jax.Array:
            return (jnp.where(real, jnp.sin(backend(*x, mask)), 0)).sum()

        return jax.jit(jax.grad(jax.checkpoint(total), argnums=(0, 1, 2)))(*arrays)

    for ours, expected in zip(run(cudnn.cudnn), run(attention), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@jax.custom_vjp
def kernel(query: jax.Array, key: jax.Array, value: jax.Array, scale: jax.Array) -> jax.Array:
    """Attention of every query to every key, [B, T, H, K], as kernels have it: sums [B, H, T] for the backward pass."""
    return kernel_forward(query, key, value, scale)[0]


def kernel_forward(*given: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    query, key, value, scale = given
    scores = jnp.exp(jnp.einsum("bthk,bshk->bhts", query, key) * scale)
    sums = scores.sum(axis=-1)
    return jnp.einsum("bhts,bshk->bthk", scores / sums[..., None], value), (*given, sums)


def kernel_backward(kept: tuple[jax.Array, ...], given: jax.Array) -> tuple[jax.Array | None, ...]:
    query, key, value, scale, sums = kept

    def again(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        scores = jnp.exp2(jnp.einsum("bthk,bshk->bhts", query, key) * scale / math.log(2)) / sums[..., None]
        scores /= scores.sum(axis=-1, keepdims=True)  # 1, but for its gradient
        return jnp.einsum("bhts,bshk->bthk", scores, value)

    return *jax.vjp(again, query, key, value)[1](given), None


kernel.defvjp(kernel_forward, kernel_backward)


def test_what_a_kernel_made_is_kept_for_its_backward_pass() -> None:
    """The forward pass, which alone has an ``exp`` here, is not run again where names are kept."""
    *arrays, scale = *inputs(2, 24, 4, 4, 8), jnp.float32(0.5)

    def gradient(attend: Callable[..., jax.Array], *names: str) -> Any:
        policy = jax.checkpoint_policies.save_only_these_names(*names)
        total = jax.checkpoint(lambda *x: jnp.sin(attend(*x, scale)).sum(), policy=policy)
        return jax.grad(total, argnums=(0, 1, 2))

    kept = gradient(cudnn.keeping(kernel), KEPT)
    assert str(jax.make_jaxpr(kept)(*arrays)).count(" exp ") == 1
    assert str(jax.make_jaxpr(gradient(kernel, KEPT))(*arrays)).count(" exp ") == 2
    assert str(jax.make_jaxpr(gradient(cudnn.keeping(kernel)))(*arrays)).count(" exp ") == 2
    for ours, plain in zip(kept(*arrays), gradient(lambda *x: kernel_forward(*x)[0])(*arrays), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("devices", "groups", "packed"), [("h100:2", 2, True), ("a100-40:1", 4, False)])
def test_what_the_compiler_makes_of_it(devices: str, groups: int, packed: bool) -> None:
    """Calls of cuDNN forward and backward, nothing between devices; a bias only where it must be. What the backward
    pass needs is kept: of the forward pass there is one call, beside those of the mask for too many segments."""
    try:
        machine = open_machine(devices)
    except PlanError as missing:
        pytest.skip(str(missing))
    rows = NamedSharding(make_mesh(MeshConfig(), machine.devices), partition_spec("batch"))
    query, key = (jax.ShapeDtypeStruct((2, 512, heads, 64), jnp.bfloat16, sharding=rows) for heads in (4, groups))
    ids = jax.ShapeDtypeStruct((2, 512), jnp.int32, sharding=rows)

    def total(query: jax.Array, key: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        mask = AttentionMask.within(positions, segment_ids)
        return attention(query, key, key, mask, "auto").astype(jnp.float32).sum()

    total = jax.checkpoint(total, policy=jax.checkpoint_policies.save_only_these_names(KEPT))
    with jax.set_mesh(rows.mesh):
        text = jax.jit(jax.grad(total, argnums=(0, 1))).lower(query, key, ids, ids).compile().as_text()
    calls = Counter(re.findall(r'custom_call_target="__cudnn\$(\w+)"', text))
    by_mask = {"fmhaScaleBiasSoftmax", "fmhaScaleBiasSoftmaxBackward"}
    assert {*calls} == by_mask | ({"fmhaSoftmax", "fmhaSoftmaxBackward"} if packed else set())
    assert calls["fmhaSoftmax" if packed else "fmhaScaleBiasSoftmax"] == 1
    assert "all-gather" not in text
