"""The fingerprint of a tree: the same on any devices, another after any change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.training.helpers import TINY
from tl_jax.config import MeshConfig
from tl_jax.model.fingerprint import fingerprint
from tl_jax.model.parameters import init_params
from tl_jax.model.sharding import make_mesh, shard_tree


def test_does_not_depend_on_devices() -> None:
    params = init_params(TINY, jax.random.key(7))
    expected = fingerprint(params)
    assert expected is not None
    assert len(expected) == 16
    for mesh in (MeshConfig(data=8, fsdp=1), MeshConfig(fsdp=8), MeshConfig(data=2, fsdp=2, tensor=2)):
        assert fingerprint(shard_tree(params, make_mesh(mesh))) == expected


def test_the_same_in_another_dtype_where_one_is_named() -> None:
    narrow = {"a": jnp.linspace(-3, 3, 99).astype(jnp.bfloat16)}
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), narrow)
    assert fingerprint(wide, jnp.bfloat16) == fingerprint(narrow, jnp.bfloat16) == fingerprint(narrow)
    assert fingerprint({"a": wide["a"] * 1.01}, jnp.bfloat16) != fingerprint(narrow)


def test_nothing_has_none() -> None:
    assert fingerprint({}) is None
    assert fingerprint({"ref": {}}) is None


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int8])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.at[1, 2].set(-x[1, 2]),
        lambda x: x.at[0, 0].set(x[0, 1]).at[0, 1].set(x[0, 0]),
        lambda x: x[::-1],
        lambda x: x.reshape(4, 3),
        lambda x: x.astype(jnp.float16),
        lambda x: {"x": x},
        lambda x: {"a": x, "b": x[:0]},
    ],
    ids=["a sign", "two swapped", "reversed", "shape", "dtype", "another name", "an empty leaf"],
)
def test_every_change_shows(dtype: Any, change: Callable[[jax.Array], Any]) -> None:
    x = jnp.arange(1, 13).reshape(3, 4).astype(dtype)
    assert fingerprint({"a": x}) == fingerprint({"a": x.copy()})
    changed = change(x)
    assert fingerprint({"a": x}) != fingerprint(changed if isinstance(changed, dict) else {"a": changed})
