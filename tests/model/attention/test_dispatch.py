"""Backends come from a table that the configuration reads too; shapes are checked before any of them runs."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.attention.inputs import inputs, packed_mask
from tl_jax.config import ConfigError, ModelConfig, SftConfig, annotated_yaml, load_config
from tl_jax.config.attention import BACKENDS, Backend
from tl_jax.errors import UserError
from tl_jax.model.attention import AttentionMask, attention
from tl_jax.plugins import resolve


def mean_of_values(query: jax.Array, key: jax.Array, value: jax.Array, mask: AttentionMask) -> jax.Array:
    return jnp.broadcast_to(value.mean(axis=(1, 2), keepdims=True), query.shape)


def test_every_backend_of_the_table_is_there() -> None:
    assert all(callable(resolve(backend.function)) for backend in BACKENDS.values())


def test_a_backend_from_outside_is_a_record() -> None:
    arrays, mask = inputs(1, 8, 2, 1, 4), packed_mask(1, 8)
    with BACKENDS.added(Backend("mean", mean_of_values, "anything", "nothing")):
        np.testing.assert_allclose(attention(*arrays, mask, "mean"), mean_of_values(*arrays, mask))
        assert ModelConfig(path=Path("m"), attention="mean").attention == "mean"
        assert "xla | cudnn | splash | mean" in annotated_yaml(SftConfig)
    with pytest.raises(ConfigError, match=r"model\.attention.*did you mean 'splash'"):
        load_config(SftConfig, (), ("model.path=m", "model.attention=spalsh", "data.train=x"))
    with pytest.raises(UserError, match="unknown attention backend 'mean'"):
        attention(*arrays, mask, "mean")


@pytest.mark.parametrize("wrong", ["key", "mask"])
def test_shapes_that_do_not_fit_are_an_error(wrong: str) -> None:
    query, key, value = inputs(1, 8, 2, 1, 4)
    with pytest.raises(AssertionError):
        attention(query, key[:, :4] if wrong == "key" else key, value, packed_mask(1, 9 if wrong == "mask" else 8))
