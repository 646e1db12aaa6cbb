"""The chunked loss against the plain formula, and what it promises not to compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.helpers import TINY, assert_trees_close, equations, random_batch
from tl_jax.config.model import Remat
from tl_jax.data.batch import Batch
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.training.chunks import KEPT
from tl_jax.training.losses import correct, entropy, label_log_probs, weighted_cross_entropy

ENTROPY_AND_CORRECT = {"entropy": entropy, "correct": correct}


def plain_log_probs(logits: Any) -> np.ndarray:
    """Float64 log-softmax by its definition."""
    wide = np.asarray(logits, np.float64)
    wide = wide - wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def all_logits(graphdef: Any, params: Any, batch: Batch) -> jax.Array:
    return merge(graphdef, params)(batch.tokens, batch.positions, batch.segment_ids)


def test_loss_and_metrics_equal_the_plain_formula(graphdef: Any, params: Any) -> None:
    batch = random_batch(0, 5, 61)
    loss = jax.jit(lambda p: weighted_cross_entropy(merge(graphdef, p), batch))(params)
    logits = np.asarray(all_logits(graphdef, params, batch))
    ce = -np.take_along_axis(plain_log_probs(logits), batch.labels[..., None], -1)[..., 0]
    target = batch.weights > 0
    np.testing.assert_allclose(loss.total, (batch.weights * ce).sum(), rtol=1e-5)
    assert loss.denominator == batch.turns.sum()
    assert loss.metrics["targets"] == target.sum()
    np.testing.assert_allclose(loss.metrics["cross_entropy"], ce[target].sum(), rtol=1e-5)
    assert loss.metrics["accuracy"] == (logits.argmax(-1) == batch.labels)[target].sum()


@pytest.mark.parametrize("remat", ["block", "none"])
@pytest.mark.parametrize("tied", [False, True])
def test_gradient_equals_the_plain_formula(remat: Remat, tied: bool) -> None:
    config = replace(TINY, tie_word_embeddings=tied)
    graphdef, params = make_graphdef(config, dtype=jnp.float32, remat=remat), init_params(config, jax.random.key(7))
    batch = random_batch(1, 4, 64)

    def plain(p: Any) -> jax.Array:
        ce = optax.softmax_cross_entropy_with_integer_labels(all_logits(graphdef, p, batch), batch.labels)
        return jnp.sum(batch.weights * ce)

    chunked = jax.jit(jax.grad(lambda p: weighted_cross_entropy(merge(graphdef, p), batch).total))(params)
    assert_trees_close(chunked, jax.jit(jax.grad(plain))(params), rtol=1e-5)


class Projection:
    """What the chunk machinery uses of a model; counts how often it really projects."""

    def __init__(self, matrix: jax.Array) -> None:
        self.matrix, self.remat, self.calls = matrix, "block", 0

    def logits(self, hidden: jax.Array) -> jax.Array:
        jax.debug.callback(self._count)
        return hidden @ self.matrix

    def _count(self) -> None:
        self.calls += 1


@pytest.fixture
def scored() -> tuple[Projection, jax.Array, np.ndarray, np.ndarray]:
    """A projection, hidden states [3, 40, 8], labels and a mask with 3 to 9 positions in a row."""
    rng = np.random.default_rng(5)
    mask = np.zeros((3, 40), bool)
    for row, count in enumerate((3, 9, 6)):
        mask[row, rng.choice(40, count, replace=False)] = True
    model = Projection(jnp.asarray(rng.normal(size=(8, 30)), jnp.float32))
    return model, jnp.asarray(rng.normal(size=(3, 40, 8)), jnp.float32), rng.integers(0, 30, (3, 40)), mask


@pytest.mark.parametrize(("chunk", "temperature"), [(None, 1.0), (1, 0.7), (7, 1.0), (64, 1.5)])
def test_log_probs_and_entropy_for_any_chunk(scored: Any, chunk: int | None, temperature: float) -> None:
    model, hidden, labels, mask = scored
    scores = label_log_probs(model, hidden, labels, mask, ENTROPY_AND_CORRECT, temperature=temperature, chunk=chunk)
    expected = plain_log_probs(np.asarray(hidden) @ np.asarray(model.matrix) / temperature)
    log_probs = np.take_along_axis(expected, labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(scores.log_probs, np.where(mask, log_probs, 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        scores.statistics["entropy"], np.where(mask, -(np.exp(expected) * expected).sum(-1), 0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(scores.statistics["correct"], mask & (expected.argmax(-1) == labels))


@pytest.mark.parametrize("remat", ["block", "none"])
def test_gradient_by_finite_differences(scored: Any, remat: str) -> None:
    model, hidden, labels, mask = scored
    model.remat = remat
    direction = jnp.asarray(np.random.default_rng(0).normal(size=hidden.shape), jnp.float32)

    def f(step: jax.Array) -> jax.Array:
        scores = label_log_probs(
            model, hidden + step * direction, labels, mask, {"entropy": entropy}, temperature=1.3, chunk=4
        )
        return jnp.sum(jnp.sin(scores.log_probs)) + jnp.sum(scores.statistics["entropy"] ** 2)

    slope = (f(jnp.float32(1e-2)) - f(jnp.float32(-1e-2))) / 2e-2
    np.testing.assert_allclose(jax.grad(f)(jnp.float32(0)), slope, rtol=2e-3)


def test_chunks_without_a_target_are_not_projected(scored: Any) -> None:
    model, hidden, labels, mask = scored
    jax.block_until_ready(label_log_probs(model, hidden, labels, mask, chunk=4))
    jax.effects_barrier()
    assert model.calls == 3  # the fullest row has 9 targets; the row of 40 would be 10 chunks


@pytest.mark.parametrize(("remat", "products"), [("block", 4), ("none", 3)])
def test_logits_are_computed_again_only_where_remat_says_so(scored: Any, remat: str, products: int) -> None:
    """In the loop of the gradients one more product than those for hidden states and matrix."""
    _, hidden, labels, mask = scored

    def total(hidden: jax.Array, matrix: jax.Array) -> jax.Array:
        model = Projection(matrix)
        model.remat = remat
        return jnp.sum(label_log_probs(model, hidden, labels, mask, chunk=hidden.shape[1] // KEPT).log_probs)

    program = jax.jit(jax.value_and_grad(total, (0, 1))).lower(hidden, scored[0].matrix).compile()
    assert program.as_text().count(" dot(") == products


def test_what_stands_outside_the_mask_has_no_influence(scored: Any) -> None:
    model, hidden, labels, mask = scored
    poisoned = jnp.where(mask[..., None], hidden, jnp.inf)
    wild = np.where(mask, labels, np.resize([-100, 10**9], labels.shape))

    def total(h: jax.Array, wanted: np.ndarray) -> jax.Array:
        return jnp.sum(label_log_probs(model, h, wanted, mask, chunk=3).log_probs)

    assert total(jnp.where(mask[..., None], hidden, 1e4), wild) == total(hidden, labels)
    gradient = jax.grad(total)(hidden, wild)
    assert not np.asarray(gradient)[~mask].any()
    assert np.isfinite(total(poisoned, wild))


def test_no_target_at_all(scored: Any) -> None:
    model, hidden, labels, mask = scored
    f = jax.value_and_grad(lambda h: jnp.sum(label_log_probs(model, h, labels, mask & False, chunk=4).log_probs))
    total, gradient = f(hidden)
    jax.effects_barrier()
    assert model.calls == 0
    assert total == 0
    assert not np.asarray(gradient).any()


def test_logits_of_the_whole_batch_never_exist(scored: Any) -> None:
    model, hidden, labels, mask = scored

    def largest(chunk: int) -> int:
        step = jax.grad(lambda h: jnp.sum(label_log_probs(model, h, labels, mask, chunk=chunk).log_probs))
        program = jax.make_jaxpr(step)(hidden).jaxpr
        return max(int(np.prod(out.aval.shape)) for equation in equations(program) for out in equation.outvars)

    assert largest(4) <= hidden.size  # nothing is larger than the hidden states, kept residuals included
    assert largest(40) >= mask.size * 30


def test_a_frozen_matrix_has_no_gradient_in_a_loop_whose_end_the_data_say(scored: Any) -> None:
    """Where adapters learn from several parts of a rollout: XLA leaves a sum through a condition in such a loop."""
    _, hidden, labels, mask = scored

    def total(scale: jax.Array, matrix: jax.Array) -> jax.Array:
        return jnp.sum(label_log_probs(Projection(matrix), hidden * scale, labels, mask, chunk=8).log_probs)

    def summed(matrix: jax.Array, turns: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, turns, lambda _, sum: sum + jax.grad(total)(1.0 + sum, matrix), jnp.float32(0))

    matrix = scored[0].matrix
    program = jax.jit(summed).lower(matrix, jnp.int32(3)).compile().as_text()
    shape = ",".join(map(str, matrix.shape))
    assert f"f32[{shape}]{{1,0}} dot(" not in program
