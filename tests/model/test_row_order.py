"""Rows in another order, against NumPy's stable sort."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.model.row_order import masked_first, reordered


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_masked_positions_come_first_as_by_a_stable_sort(share: float) -> None:
    mask = np.random.default_rng(0).random((3, 50)) < share
    order = masked_first(jnp.asarray(mask))
    sorted_ = np.argsort(~mask, axis=1, kind="stable")
    np.testing.assert_array_equal(order.source, sorted_)
    np.testing.assert_array_equal(order.place, np.argsort(sorted_, axis=1))


def test_values_and_gradients_go_there_and_back() -> None:
    rng = np.random.default_rng(1)
    order = masked_first(jnp.asarray(rng.random((3, 20)) < 0.4))
    x, seen = (jnp.asarray(rng.normal(size=(3, 20, 4)), jnp.float32) for _ in range(2))
    np.testing.assert_array_equal(reordered(reordered(x, order), order.inverse), x)
    gradient = jax.grad(lambda x: jnp.sum(reordered(x, order) * seen))(x)
    taken = jax.grad(lambda x: jnp.sum(jnp.take_along_axis(x, order.source[..., None], axis=1) * seen))(x)
    np.testing.assert_array_equal(gradient, taken)


def test_nothing_is_sorted() -> None:
    text = jax.jit(lambda mask: masked_first(mask)).lower(jnp.ones((2, 8), bool)).as_text()
    assert "stablehlo.sort" not in text
