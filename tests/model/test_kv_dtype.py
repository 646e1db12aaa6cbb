"""Keys and values in 8 bits, against the numbers that they stand for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.model.attention import AttentionMask, attention
from tl_jax.model.attention import portable as module
from tl_jax.model.attention.cached import cached
from tl_jax.model.kv_dtype import Codes, decoded, encoded

ROWS, KEYS, GROUPS, HEAD_DIM = 2, 24, 2, 16


def numbers(seed: int, *shape: int) -> jax.Array:
    """Heads and tokens of very different sizes, as keys have them."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, size=(*shape[:-1], 1)), jnp.float32)


def test_no_number_is_off_by_more_than_half_a_step_of_its_head() -> None:
    x = np.array(numbers(0, ROWS, KEYS, GROUPS, HEAD_DIM))
    x[0, 0] = 0
    held = encoded(jnp.asarray(x), jnp.int8)
    assert isinstance(held, Codes)
    assert held.codes.dtype == jnp.int8
    assert held.scale.shape == (ROWS, KEYS, GROUPS, 1)
    step = np.abs(x).max(axis=-1, keepdims=True) / 127
    assert (np.abs(np.asarray(decoded(held, jnp.float32)) - x) <= 0.5001 * step).all()
    assert np.abs(np.asarray(held.codes)).max(axis=-1).min(where=step[..., 0] > 0, initial=127) == 127


def test_what_is_no_number_stays_none() -> None:
    x = numbers(1, 1, 1, 2, HEAD_DIM).at[0, 0, 0, 3].set(jnp.nan)
    back = np.asarray(decoded(encoded(x, jnp.int8), jnp.float32))
    assert np.isnan(back[0, 0, 0]).all()
    assert np.isfinite(back[0, 0, 1]).all()


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize(("new", "heads"), [(1, 2), (1, 6), (5, 4)])
def test_attention_to_codes_is_that_to_their_numbers(
    platform: str, new: int, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "platform", lambda: platform)
    query = jnp.asarray(np.random.default_rng(2).normal(size=(ROWS, new, heads, HEAD_DIM)), jnp.float32)
    keys, values = (encoded(numbers(seed, ROWS, KEYS, GROUPS, HEAD_DIM), jnp.int8) for seed in (3, 4))
    order = jnp.broadcast_to(jnp.arange(KEYS), (ROWS, KEYS))
    positions = jnp.array([[7], [20 - new]]) + jnp.arange(new)
    mask = AttentionMask(positions, jnp.ones_like(positions), order, jnp.ones_like(order))
    plain = attention(query, decoded(keys, jnp.float32), decoded(values, jnp.float32), mask)
    np.testing.assert_allclose(cached(query, keys, values, mask), plain, rtol=1e-4, atol=1e-4 * float(abs(plain).max()))
