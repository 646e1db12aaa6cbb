"""Which token is taken, against numpy, JAX's own argmax and the distribution itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from tl_jax.inference.choice import BLOCK, Draw, Static, choose

ROWS, VOCAB = 3, 2 * BLOCK + 40
"""The last block is not full."""
GREEDY, DRAWN = Static(8, True, None, False), Static(8, False, None, False)


def draw(temperature: float) -> Draw:
    words = np.asarray(jax.random.key_data(jax.random.key(1)))
    return Draw(words, np.float32(temperature), np.float32(1), np.asarray([-1], np.int32))


def scores() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(scale=4, size=(ROWS, VOCAB)), jnp.float32)


def log_probs(logits: jax.Array) -> np.ndarray:
    wide = np.asarray(logits, np.float64)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def test_greedy_takes_the_first_of_the_most_likely() -> None:
    logits = scores().at[1, 7].set(50).at[1, 30].set(50)
    found = choose(logits, jnp.arange(ROWS), jnp.arange(ROWS), draw(0), GREEDY)
    assert found.tokens.dtype == jnp.int32
    np.testing.assert_array_equal(found.tokens, np.asarray(logits).argmax(axis=1))
    np.testing.assert_allclose(found.logprobs, log_probs(logits)[range(ROWS), found.tokens], atol=1e-5)


def test_a_block_is_drawn_and_then_one_of_its_tokens() -> None:
    """Of the noise of the key, the prompt's number and the step alone."""
    numbers, steps, logits = jnp.asarray([4, 0, 9]), jnp.asarray([0, 7, 7]), scores()
    found = choose(logits, numbers, steps, draw(1.5), DRAWN)
    expected = log_probs(logits / 1.5)
    borders = range(BLOCK, VOCAB, BLOCK)
    for row in range(ROWS):
        own = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), numbers[row]), steps[row])
        noise = np.asarray(jax.random.gumbel(own, (len(borders) + 1 + BLOCK,)))
        parts = np.split(expected[row], borders)
        block = int(np.argmax([np.log(np.exp(part).sum()) + noise[at] for at, part in enumerate(parts)]))
        place = int(np.argmax(parts[block] + noise[-BLOCK:][: len(parts[block])]))
        assert found.tokens[row] == block * BLOCK + place
    assert found.tokens.dtype == jnp.int32
    np.testing.assert_allclose(found.logprobs, expected[range(ROWS), found.tokens], atol=1e-5)
    np.testing.assert_array_equal(found.drawn, found.logprobs)


@pytest.mark.parametrize("top_k", [None, 20])
def test_tokens_are_drawn_as_often_as_they_are_likely(top_k: int | None) -> None:
    """By a chi-square test of rows that have nothing but their logits in common; what a filter left out never."""
    rows, logits = 20_000, scores()[0] / 8
    many = jnp.broadcast_to(logits, (rows, VOCAB))
    found = choose(many, jnp.arange(rows), jnp.arange(rows) % 7, draw(1), DRAWN._replace(top_k=top_k))
    left = np.asarray(logits) >= np.sort(logits)[-(top_k or VOCAB)]
    expected = np.where(left, np.exp(log_probs(logits[None])[0]), 0)
    expected *= rows / expected.sum()
    seen = np.bincount(np.asarray(found.tokens), minlength=VOCAB)
    assert seen.shape == (VOCAB,)
    assert not seen[~left].any()
    assert expected[left].min() > 5
    assert chisquare(seen[left], expected[left]).pvalue > 0.01
    np.testing.assert_allclose(found.drawn, np.log(expected[found.tokens] / rows), atol=1e-5)


@pytest.mark.parametrize("static", [GREEDY, DRAWN])
@pytest.mark.parametrize("vocab", [VOCAB, 40])
def test_a_token_of_the_vocabulary_whatever_the_logits(static: Static, vocab: int) -> None:
    """Of a model that diverged, too: what looks it up has such a row."""
    logits = scores()[:, :vocab].at[0].set(jnp.nan).at[1, -1].set(jnp.nan).at[2].set(-jnp.inf)
    found = choose(logits, jnp.arange(ROWS), jnp.arange(ROWS), draw(1), static)
    assert ((found.tokens >= 0) & (found.tokens < vocab)).all()
    assert np.isnan(np.asarray(found.logprobs[:2])).all()
