"""Compute copies: which parameters are cast, where, and the gradient of the embedding in bfloat16."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.helpers import TINY
from tl_jax.config import MeshConfig
from tl_jax.model import embedding
from tl_jax.model.embedding import by_rows, lookup
from tl_jax.model.llama import abstract_params, init_params, make_graphdef
from tl_jax.model.precision import compute_dtype, in_compute_dtype
from tl_jax.model.sharding import make_mesh
from tl_jax.model.value import value_params


def test_what_is_multiplied_is_cast_and_norms_and_values_are_not() -> None:
    params = {"actor": abstract_params(TINY), "critic": jax.eval_shape(value_params, abstract_params(TINY))}
    copies = jax.eval_shape(lambda tree: in_compute_dtype(tree, "bfloat16"), params)
    kept = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree_util.tree_leaves_with_path(copies)
        if leaf.dtype == jnp.float32
    }
    norms = ("norm", "layers.attn_norm", "layers.mlp_norm")
    assert kept == {*(f"actor.{name}" for name in norms), *(f"critic.backbone.{name}" for name in norms)} | {
        "critic.value_head"
    }


def test_parameters_that_have_the_dtype_are_themselves() -> None:
    params = init_params(TINY, jax.random.key(0))
    assert all(
        a is b for a, b in zip(*map(jax.tree.leaves, (in_compute_dtype(params, "float32"), params)), strict=True)
    )
    assert compute_dtype(make_graphdef(TINY, dtype="bfloat16"), params) == jnp.bfloat16


def test_every_occurrence_of_a_token_counts_in_the_embedding() -> None:
    """600 times 1 is 256 where bfloat16 adds up."""
    tokens = jnp.asarray(np.repeat([2, 5, -1, 9], (600, 3, 2, 1))[None])  # of 6; -1 is the last one's, 9 nobody's
    for dtype in (jnp.bfloat16, jnp.float32):
        table = jnp.zeros((6, 4), dtype)
        gradient = jax.grad(lambda table: jnp.sum(lookup(table, tokens)[:, :605].astype(jnp.float32)))(table)
        assert gradient.dtype == dtype
        np.testing.assert_array_equal(gradient[:, 0], [0, 0, 600, 0, 0, 5])
    assert np.isnan(lookup(table, tokens)[0, -1]).all()


def test_the_embedding_s_gradient_is_added_up_row_by_row_where_sorts_are_long() -> None:
    """As a TPU does: the same sums, also of a token that all rows have, of -1 and of an id that nobody has."""
    tokens = jnp.asarray([[2, 2, 9, 0], [5, 2, 0, -1], [1, 2, 2, 2]])
    rows = jnp.arange(48, dtype=jnp.float32).reshape(3, 4, 4)
    gradient = jax.grad(
        lambda table: jnp.sum(lookup(table, jnp.where(tokens == 9, 0, tokens)) * (tokens != 9)[..., None] * rows)
    )
    np.testing.assert_array_equal(by_rows(jnp.zeros((6, 4)), tokens, rows), gradient(jnp.zeros((6, 4))))


@pytest.mark.parametrize(("sizes", "by_row"), [({"fsdp": 8}, True), ({"data": 2, "fsdp": 4}, False), (None, False)])
def test_the_embedding_s_gradient_goes_row_by_row_where_a_tpu_s_mesh_says_who_has_the_rows(
    sizes: dict[str, int] | None, by_row: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a mesh rows may be spread all the same, by whoever calls: then each device would be sent all of them."""
    tokens = jnp.asarray([[2, 2, 3], [5, 2, 0]])
    gradient = jax.grad(lambda table: jnp.sum(lookup(table, tokens)).astype(jnp.float32))
    table = jnp.zeros((6, 8), jnp.bfloat16)
    expected = gradient(table)
    monkeypatch.setattr(embedding, "platform", lambda: "tpu")
    with jax.set_mesh(make_mesh(MeshConfig(**sizes))) if sizes else nullcontext():
        assert ("scan[" in str(jax.make_jaxpr(gradient)(table))) == by_row
        found = jax.jit(gradient)(table)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected)
