"""Stochastic rounding: between the neighbours, right on average, the same for the same key, and it learns."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tl_jax.training.optimizer import in_float32
from tl_jax.training.stochastic_rounding import apply_updates, to_bfloat16

ROUND_OFTEN = jax.jit(lambda x, keys: jax.vmap(partial(to_bfloat16, x))(keys))


def neighbours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bfloat16 next to ``x`` on either side, by ml_dtypes' own rounding and the spacing of 8 binary digits."""
    spacing = np.exp2(np.floor(np.log2(np.abs(x))) - 7).astype(np.float32)
    below = np.floor(x / spacing) * spacing
    return below, below + spacing


def test_it_is_one_of_the_neighbours_and_their_mean_is_the_number() -> None:
    x = np.float32([1.001, -1.001, 0.3333, 3e-7, -255.9, 1e-30, 0.99999, 1e30])
    drawn = np.asarray(ROUND_OFTEN(jnp.asarray(x), jax.random.split(jax.random.key(0), 20000)), np.float64)
    below, above = neighbours(x)
    for column, values in enumerate(drawn.T):
        assert set(np.unique(values)) == {below[column], above[column]}
    spacing = (above - below).astype(np.float64)
    assert (np.abs(drawn.mean(axis=0) - x) < 4 * 0.5 * spacing / np.sqrt(20000)).all()  # four standard errors at most


def test_what_a_bfloat16_holds_stays_and_so_does_what_is_no_number() -> None:
    x = np.float32([0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, 2.0**-126])
    drawn = np.asarray(ROUND_OFTEN(jnp.asarray(x), jax.random.split(jax.random.key(1), 50)), np.float32)
    np.testing.assert_array_equal(drawn, np.broadcast_to(x, drawn.shape))
    nan = np.uint32([0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001]).view(np.float32)
    assert np.isnan(
        np.asarray(ROUND_OFTEN(jnp.asarray(nan), jax.random.split(jax.random.key(2), 50)), np.float32)
    ).all()


def test_the_key_decides_and_no_two_parameters_share_their_noise() -> None:
    params = {name: jnp.ones(512, jnp.bfloat16) for name in ("a", "b")}
    updates = {name: jnp.full(512, 1e-3) for name in params}
    one, again, other = (apply_updates(params, updates, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["a"], again["a"])
    assert not np.array_equal(one["a"], other["a"])
    assert not np.array_equal(one["a"], one["b"])
    wide = apply_updates(jax.tree.map(jnp.float32, params), updates, jax.random.key(0))
    np.testing.assert_array_equal(wide["a"], np.float32(1) + np.float32(1e-3))


def test_a_thousand_tiny_updates_move_as_in_float32() -> None:
    """AdamW on a slope: rounding to the nearest leaves the parameters where they are."""
    rate = 5e-7
    optimizer = in_float32(optax.adamw(rate, weight_decay=0.1))
    start = jnp.asarray(np.random.default_rng(0).normal(0, 0.02, 4000), jnp.bfloat16)
    gradient = jnp.asarray(np.random.default_rng(1).normal(0.5, 0.1, 4000), jnp.float32)

    def trained(params: jax.Array, stochastic: bool) -> np.ndarray:
        def update(
            carry: tuple[jax.Array, optax.OptState], key: jax.Array
        ) -> tuple[tuple[jax.Array, optax.OptState], None]:
            params, moments = carry
            updates, moments = optimizer.update(gradient, moments, params)
            add = partial(apply_updates, key=key) if stochastic else optax.apply_updates
            return (add(params, updates), moments), None

        keys = jax.random.split(jax.random.key(2), 1000)
        (end, _), _ = jax.jit(lambda p: jax.lax.scan(update, (p, optimizer.init(p)), keys))(params)
        return np.asarray(end, np.float64) - np.asarray(params, np.float64)

    exact = trained(start.astype(jnp.float32), False).mean()
    assert exact == pytest.approx(-1000 * rate, rel=0.01)
    assert trained(start, True).mean() == pytest.approx(exact, rel=0.03)
    assert abs(trained(start, False).mean()) < 0.2 * abs(exact)
