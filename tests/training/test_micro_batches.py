"""A batch in parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.training.micro_batches import accumulate, join, split

TREE = {"a": jnp.arange(24.0).reshape(12, 2), "b": jnp.arange(12)}


@pytest.mark.parametrize("parts", [1, 2, 3, 12])
def test_split_takes_every_row_once_and_join_puts_it_back(parts: int) -> None:
    rows = split(TREE, parts)
    assert rows["a"].shape == (parts, 12 // parts, 2)
    assert rows["b"][0].tolist() == list(range(0, 12, parts))
    for name, expected in TREE.items():
        np.testing.assert_array_equal(join(rows)[name], expected)


@pytest.mark.parametrize("parts", [1, 4])
def test_sums_are_float32(parts: int) -> None:
    """In bfloat16, 256 + 1 is 256: twelve of them would stay there."""
    rows = jnp.where(jnp.arange(12) == 0, 256.0, 1.0)

    def total(part: jax.Array) -> dict[str, jax.Array]:
        return {"low": jnp.sum(part).astype(jnp.bfloat16), "count": jnp.float32(part.size)}

    sums = accumulate(total, rows, parts)
    assert {name: x.dtype for name, x in sums.items()} == {"low": jnp.float32, "count": jnp.float32}
    assert sums["count"] == 12
    assert sums["low"] == pytest.approx(267, abs=1.1 if parts == 1 else 0)
