"""Which token is taken, against numpy and JAX's own argmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_jax.inference.choice import Draw, Static, choose

ROWS, VOCAB = 3, 40


def draw(temperature: float) -> Draw:
    words = np.asarray(jax.random.key_data(jax.random.key(1)))
    return Draw(words, np.float32(temperature), np.float32(1), np.asarray([-1], np.int32))


def scores() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(scale=4, size=(ROWS, VOCAB)), jnp.float32)


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_the_first_of_the_most_likely(temperature: float) -> None:
    """Of logits that are equal greedy takes the first; noise is of the key, the prompt's number and the step alone."""
    numbers, steps = jnp.asarray([4, 0, 9]), jnp.asarray([0, 7, 7])
    logits, static = scores(), Static(8, temperature == 0, None, False)
    logits = logits.at[1, 7].set(50).at[1, 30].set(50)
    found = choose(logits, numbers, steps, draw(temperature), static)
    scaled = np.asarray(logits) / (temperature or 1)
    noisy = scaled.copy()
    if temperature:
        for row in range(ROWS):
            own = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), numbers[row]), steps[row])
            noisy[row] += np.asarray(jax.random.gumbel(own, (VOCAB,)))
    assert found.tokens.dtype == jnp.int32
    np.testing.assert_array_equal(found.tokens, noisy.argmax(axis=1))
    wide = scaled.astype(np.float64)
    expected = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.logprobs, expected[range(ROWS), found.tokens], atol=1e-5)


def test_a_token_of_the_vocabulary_whatever_the_logits() -> None:
    """Of a model that diverged, too: what looks it up has such a row."""
    logits = scores().at[0].set(jnp.nan).at[1, 3].set(jnp.nan).at[2].set(-jnp.inf)
    found = choose(logits, jnp.arange(ROWS), jnp.arange(ROWS), draw(0), Static(8, True, None, False))
    assert ((found.tokens >= 0) & (found.tokens < VOCAB)).all()
    assert np.isnan(np.asarray(found.logprobs[:2])).all()
