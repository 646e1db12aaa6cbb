"""Prompts are drawn by how much the rewards of their answers varied of late."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tl_jax.config.curriculum import CurriculumConfig
from tl_jax.rl.curriculum import Curriculum


def curriculum(memory: float = 0.5, seed: int = 0) -> Curriculum:
    return Curriculum(CurriculumConfig(share=0.5, memory=memory), seed)


def test_variances_are_remembered_by_halves() -> None:
    made = curriculum(memory=0.25)
    made.observe(4, [0.0, 1.0, 1.0, 0.0])  # variance 0.25
    made.observe(4, [2.0, 0.0])  # 1
    made.observe(7, [3.0])  # a single answer says nothing
    made.observe(5, [3.0, 3.0])
    assert made.state() == [[4, 0.25 * 0.25 + 0.75 * 1], [5, 0.0]]


def test_nothing_is_kept_where_nothing_is_drawn() -> None:
    made = Curriculum(CurriculumConfig(), 0)
    made.observe(4, [0.0, 1.0])
    assert made.state() == []
    assert made.count(64) == 0


def test_prompts_are_drawn_in_proportion_to_their_variance() -> None:
    made = curriculum()
    for prompt, spread in enumerate([0.0, 1.0, 2.0, 1.0]):  # variances 0, 1/4, 1, 1/4
        made.observe(prompt, [0.0, spread])
    first, second = Counter[int](), Counter[int]()
    draws = 6000
    for rollout in range(draws):
        one, other = made.draw(2, rollout, without=())
        first[one] += 1
        second[one, other] += 1  # type: ignore[index]
    shares = np.array([first[prompt] for prompt in range(4)]) / draws
    np.testing.assert_allclose(shares, [0, 1 / 6, 2 / 3, 1 / 6], atol=0.025)
    assert second[2, 1] / draws == pytest.approx(2 / 3 * 1 / 2, abs=0.025)  # type: ignore[index]
    assert second[1, 2] / draws == pytest.approx(1 / 6 * 4 / 5, abs=0.025)  # type: ignore[index]


def test_draws_depend_on_seed_and_rollout_alone_and_leave_some_out() -> None:
    made, again = curriculum(), curriculum()
    for prompt in range(40):
        made.observe(prompt, [0.0, 1.0])
    again.restore(sorted(made.state(), reverse=True))  # in another order
    assert made.draw(8, 3, without=()) == again.draw(8, 3, without=())
    assert made.draw(8, 3, without=()) != made.draw(8, 4, without=())
    assert made.draw(8, 3, without=()) != Curriculum(CurriculumConfig(share=0.5), 1).draw(8, 3, without=())
    left_out = set(range(35))
    assert sorted(made.draw(8, 3, without=left_out)) == [35, 36, 37, 38, 39]
