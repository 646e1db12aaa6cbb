"""A tiny Llama, random batches and comparisons, for tests and for the processes that tests start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from tl_jax.data.batch import Batch
from tl_jax.model.config import LlamaConfig

TINY = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=8,
    num_kv_heads=4,
    head_dim=8,
    initializer_range=0.3,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def random_batch(seed: int, rows: int, length: int, vocab: int = TINY.vocab_size) -> Batch:
    """Rows of two packed trajectories and some padding, with one to three turns of uneven weights."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, vocab, (rows, length)).astype(np.int32)
    labels = rng.integers(3, vocab, (rows, length)).astype(np.int32)
    segments, positions = np.zeros((2, rows, length), np.int32)
    weights, turns = np.zeros((rows, length), np.float32), np.zeros(rows, np.float32)
    for row in range(rows):
        middle, end = length // 3 + rng.integers(length // 3), length - rng.integers(length // 8)
        segments[row, :middle], segments[row, middle:end] = 1, 2
        positions[row, :middle], positions[row, middle:end] = np.arange(middle), np.arange(end - middle)
        for start in rng.choice(end - 6, 1 + row % 3, replace=False):
            raw = rng.choice([1.0, 9.0], 5)
            weights[row, start : start + 5] += (raw / raw.sum()).astype(np.float32)
            turns[row] += 1
    return Batch(tokens=tokens, labels=labels, weights=weights, segment_ids=segments, positions=positions, turns=turns)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Those of a program and of all programs in it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def assert_trees_close(actual: Any, expected: Any, rtol: float) -> None:
    """Every leaf, by its largest element: a sum of cancelling terms is judged by the size of its terms."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, wanted), got in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(actual), strict=True):
        wanted, got = np.asarray(wanted), np.asarray(got)
        scale = np.abs(wanted).max(initial=0.0)
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * scale, err_msg=jax.tree_util.keystr(path))


def assert_same_avals(step: Any, state: Any, batch: Any) -> None:
    """A step returns a state of the structure, shapes, dtypes and weak types that it takes: it compiles once."""
    before, after = jax.eval_shape(lambda state: state, state), jax.eval_shape(step, state, batch)[0]
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for (path, taken), given in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        name = jax.tree_util.keystr(path)
        assert (name, given.shape, given.dtype) == (name, taken.shape, taken.dtype)
        assert (name, given.weak_type) == (name, taken.weak_type)
