"""Shapes of what is not computed, without tracing it for them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.training.tracing import with_shapes, zeros


def test_it_is_traced_once_although_its_shapes_are_asked_for() -> None:
    traced: list[jax.Array] = []

    def scaled(x: jax.Array) -> dict[str, jax.Array]:
        traced.append(x)
        return {"sines": factor * jnp.sin(x), "sum": x.sum(dtype=jnp.float32)}

    def either(x: jax.Array, wanted: bool) -> dict[str, jax.Array]:
        function, shapes = with_shapes(scaled, x)
        return jax.lax.cond(wanted, function, lambda _: zeros(shapes), x)

    factor = 3.0
    compute = jax.jit(either)
    numbers = np.arange(4.0, dtype=np.float32)
    found, nothing = compute(numbers, True), compute(numbers, False)
    assert len(traced) == 1
    np.testing.assert_allclose(found["sines"], 3 * np.sin(numbers), rtol=1e-6)
    assert found["sum"] == 6
    assert not nothing["sines"].any()
    assert not nothing["sum"].any()
    assert jax.tree.map(jnp.shape, nothing) == jax.tree.map(jnp.shape, found)


def test_zeros_are_of_the_shapes_dtypes_or_of_one() -> None:
    shapes = {"a": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), "b": jax.ShapeDtypeStruct((), jnp.int32)}
    assert {name: x.dtype for name, x in zeros(shapes).items()} == {"a": jnp.bfloat16, "b": jnp.int32}
    assert {x.dtype for x in zeros(shapes, jnp.float32).values()} == {np.dtype("float32")}
    assert zeros(shapes)["a"].shape == (2, 3)
