"""A batch in parts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.training.micro_batches import add_up, split

TREE = {"a": jnp.arange(24.0).reshape(12, 2), "b": jnp.arange(12)}


@pytest.mark.parametrize("parts", [1, 2, 3, 12])
def test_split_takes_every_row_once(parts: int) -> None:
    rows = split(TREE, parts)
    assert rows["a"].shape == (parts, 12 // parts, 2)
    for part in range(parts):
        assert rows["b"][part].tolist() == list(range(part, 12, parts))
        np.testing.assert_array_equal(rows["a"][part], TREE["a"][part::parts])


@pytest.mark.parametrize("parts", [1, 4])
def test_sums_are_float32(parts: int) -> None:
    """In bfloat16, 256 + 1 is 256: twelve of them would stay there."""
    rows = jnp.where(jnp.arange(12) == 0, 256.0, 1.0)

    def total(part: jax.Array) -> dict[str, jax.Array]:
        return {"low": jnp.sum(part).astype(jnp.bfloat16), "count": jnp.float32(part.size)}

    sums = add_up(total, split(rows, parts))
    assert {name: x.dtype for name, x in sums.items()} == {"low": jnp.float32, "count": jnp.float32}
    assert sums["count"] == 12
    assert sums["low"] == pytest.approx(267, abs=1.1 if parts == 1 else 0)


@pytest.mark.parametrize(("left_out", "total"), [((), 36), ((1,), 29), ((0, 3), 18), ((0, 1, 2, 3), 0)])
def test_parts_that_add_nothing_are_left_out(left_out: tuple[int, ...], total: float) -> None:
    parts = jnp.arange(1.0, 9.0).reshape(4, 2)
    for part in left_out:
        parts = parts.at[part].set(jnp.array([jnp.nan, -1.0]))
    assert add_up(jnp.sum, parts, lambda part: part[1] > 0) == total


def test_parts_are_added_in_their_order() -> None:
    """1 is lost beside 2^24 in float32, so sums in another order are others."""
    parts = jnp.array([0.0, 2.0**24, -1.0, 1.0, -(2.0**24)])
    assert add_up(jnp.sum, parts, lambda part: part != -1) == 0


def test_sums_go_through_no_condition() -> None:
    """A compiler may have what goes through one in memory twice; CodeLLaMA-7B's sums of gradients are 25 GiB."""
    program = jax.make_jaxpr(lambda parts: add_up(jnp.sum, parts, lambda part: part[1] > 0))(jnp.ones((3, 2)))
    assert "while" in str(program)
    assert "cond[" not in str(program)


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_not_wanted_is_not_computed(count: int) -> None:
    asked: list[None] = []

    def total(part: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: asked.append(None))
        return jnp.sum(part)

    sums = jax.jit(lambda parts, wanted: add_up(total, parts, wanted=wanted))
    assert sums(jnp.full((count, 2), jnp.nan), False) == 0
    jax.effects_barrier()
    assert not asked
    assert sums(jnp.ones((count, 2)), True) == 2 * count
    jax.effects_barrier()
    assert len(asked) == count
