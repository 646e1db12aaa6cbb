"""Gradients of a loop of layers, added to sums in its backward pass, against JAX's own derivative of that loop."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.model.gradient_sums import through_adding

LAYERS, ROWS, LENGTH, WIDTH = 5, 2, 6, 64


def layer(x: jax.Array, weights: Any, read: jax.Array) -> jax.Array:
    return x + jnp.tanh(x @ weights["in"]) @ weights["out"] * (read > 0)[..., None]


def arrays() -> tuple[jax.Array, Any, Any, jax.Array]:
    keys = jax.random.split(jax.random.key(0), 5)
    shape = (LAYERS, WIDTH, WIDTH)
    weights = {name: jax.random.normal(key, shape) / 8 for name, key in zip(("in", "out"), keys, strict=False)}
    sums = {name: jax.random.normal(key, shape) for name, key in zip(("in", "out"), keys[2:], strict=False)}
    read = jnp.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) % 3
    return jax.random.normal(keys[4], (ROWS, LENGTH, WIDTH)), weights, sums, read


def plain(x: jax.Array, weights: Any, read: jax.Array) -> jax.Array:
    return jnp.sum(jax.lax.scan(lambda x, one: (layer(x, one, read), None), x, weights)[0] ** 3)


def adding(x: jax.Array, weights: Any, sums: Any, read: jax.Array) -> jax.Array:
    return jnp.sum(through_adding(layer, x, weights, sums, read) ** 3)


def test_the_gradient_of_the_sums_is_the_sums_and_that_of_the_layers() -> None:
    x, weights, sums, read = arrays()
    expected, (d_x, d_weights) = jax.value_and_grad(plain, argnums=(0, 1))(x, weights, read)
    value, (given, nothing, added) = jax.value_and_grad(adding, argnums=(0, 1, 2))(x, weights, sums, read)
    assert value == expected
    np.testing.assert_allclose(given, d_x, rtol=1e-5, atol=1e-5)
    for name, total in added.items():
        assert jnp.abs(d_weights[name]).max() > 1  # so that a sum without it would be seen
        np.testing.assert_allclose(total, sums[name] + d_weights[name], rtol=1e-4, atol=1e-4)
        assert not nothing[name].any()


def test_sums_of_layers_in_bfloat16_stay_float32() -> None:
    x, weights, sums, read = arrays()
    x, weights = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (x, weights))
    d_weights = jax.grad(plain, argnums=1)(x, weights, read)
    added = jax.grad(adding, argnums=2)(x, weights, sums, read)
    for name, total in added.items():
        assert total.dtype == jnp.float32
        scale = jnp.abs(d_weights[name]).max()
        np.testing.assert_allclose(total, sums[name] + d_weights[name].astype(jnp.float32), atol=0.02 * scale)


def test_gradients_of_all_layers_never_wait_beside_the_sums() -> None:
    """What the compiled loop takes besides its arguments, with sums that are given back in place."""
    x, weights, sums, read = arrays()

    def apart(x: jax.Array, weights: Any, sums: Any, read: jax.Array) -> Any:
        return jax.tree.map(jnp.add, sums, jax.grad(plain, argnums=1)(x, weights, read))

    def bytes_of(function: Any) -> int:
        compiled = jax.jit(function, donate_argnums=2).lower(x, weights, sums, read).compile()
        taken: int = compiled.memory_analysis().temp_size_in_bytes
        return taken

    saved = bytes_of(apart) - bytes_of(jax.grad(adding, argnums=2))
    assert saved > 0.9 * sum(leaf.nbytes for leaf in jax.tree.leaves(weights)) * (LAYERS - 2) / LAYERS
