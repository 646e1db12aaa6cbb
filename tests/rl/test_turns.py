"""Sums over turns, against loops."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tl_jax.rl import turns as turns_of

TURNS = np.array([[0, 0, 0, 1, 1, 0, 2, 0], [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 2, 3, 3, 0, 0]])
MASK = np.array([[1, 1, 0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]], bool)
"""Three turns of 2, 2 and 1 tokens with tools' words between them; one of one token; four of 2, 1, 1 and 2."""


def test_sums_over_turns_and_what_comes_after() -> None:
    x = np.random.default_rng(0).normal(size=MASK.shape).astype(np.float32)
    sums, present = turns_of.turn_sums(jnp.asarray(x), TURNS, MASK), turns_of.turns_present(TURNS, MASK)
    expected = np.zeros(MASK.shape)
    for row in range(3):
        for number in range(MASK.shape[1]):
            of_turn = MASK[row] & (TURNS[row] == number)
            expected[row, number] = x[row][of_turn].sum()
            assert present[row, number] == of_turn.any()
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)
    later = [[expected[row, number:].sum() for number in range(MASK.shape[1])] for row in range(3)]
    np.testing.assert_allclose(turns_of.to_come(sums), later, rtol=1e-5, atol=1e-6)
    earlier = [[expected[row, :number].sum() for number in range(MASK.shape[1])] for row in range(3)]
    np.testing.assert_allclose(turns_of.sum_before(sums), earlier, rtol=1e-5, atol=1e-6)
    back = np.asarray(turns_of.on_tokens(sums, TURNS))
    assert back[0, 3] == back[0, 4] == sums[0, 1]


def test_the_first_token_of_each_turn() -> None:
    first = np.asarray(turns_of.first_tokens(jnp.asarray(TURNS), jnp.asarray(MASK)))
    assert [np.flatnonzero(row).tolist() for row in first] == [[0, 3, 6], [0], [0, 2, 3, 4]]
    whole = turns_of.first_tokens(jnp.zeros_like(TURNS), jnp.asarray(MASK))
    assert [np.flatnonzero(row).tolist() for row in np.asarray(whole)] == [[0], [0], [0]]
