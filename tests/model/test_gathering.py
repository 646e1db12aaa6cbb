"""Products with matrices that are made whole for them, against those that are not."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.config import MeshConfig
from tl_jax.model import gathering
from tl_jax.model.operations import product
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh, param_shardings

SIZES = {"b": 8, "d": 16, "h": 2, "k": 3, "f": 6}


@pytest.mark.parametrize(("name", "equation"), [("q", "btd,dhk->bthk"), ("down", "btf,fd->btd")])
@pytest.mark.parametrize(
    ("sizes", "tokens", "platform", "held"),
    [
        ({"fsdp": 8}, 16, "tpu", 4),  # the matrix before either product, its gradient whole, and cut again
        ({"fsdp": 8}, 15, "tpu", 0),
        ({"fsdp": 8}, 16, "gpu", 0),
        ({"fsdp": 4, "tensor": 2}, 8, "tpu", 4),
        ({"data": 2, "fsdp": 4}, 16, "tpu", 2),
        ({"data": 8}, 16, "tpu", 0),
    ],
)
def test_where_matrices_are_made_whole_and_that_numbers_stay(
    name: str,
    equation: str,
    sizes: dict[str, int],
    tokens: int,
    platform: str,
    held: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a device's 16th token on where D is 16; and the gradient is cut along D as the matrix is."""
    monkeypatch.setattr(gathering, "platform", lambda: platform)
    mesh = make_mesh(MeshConfig(**({"fsdp": 1} | sizes)))
    inputs, out = equation.split("->")
    shapes = [[{**SIZES, "t": tokens}[letter] for letter in part] for part in (*inputs.split(","), out)]
    rng = np.random.default_rng(0)
    x, matrix, given = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    place = param_shardings({"layers": {name: matrix[None]}}, mesh)["layers"][name]
    rows, on_mesh = make_global_array(x, batch_sharding(mesh)), make_global_array(matrix[None], place)

    def both(function: partial[jax.Array], x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, ...]:
        made, back = jax.vjp(lambda x, stack: function(x, stack[0]), x, matrix)
        return made, *back(jnp.asarray(given))

    ours, definition = partial(both, partial(product, equation)), partial(both, partial(jnp.einsum, equation))
    with jax.set_mesh(mesh):
        assert str(jax.make_jaxpr(ours)(x, on_mesh)).count("sharding_constraint[") == held
        found = jax.jit(ours)(rows, on_mesh)
    if held == 4:
        assert found[2].sharding.spec[1 + inputs.split(",")[1].index("d")] == "fsdp"
    for one, other in zip(found, definition(x, matrix[None]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
