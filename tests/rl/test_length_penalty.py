"""What an answer pays for its length."""

from __future__ import annotations

import pytest

from tl_jax.config import ConfigError, RlConfig, load_config
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.length_penalty import LengthPenalty
from tl_jax.rl.rubric import make_rubric
from tl_jax.tooluse.schema import Case

CASE = Case("c", (), ())


def nothing(prediction: str, case: Case) -> float:
    """A user's reward."""
    return 0.0


def configured(*settings: str) -> RlConfig:
    base = ["run_dir=r", "model.path=m", "data.path=d", "sampling.max_new_tokens=10", f"reward={__name__}:nothing"]
    return load_config(RlConfig, [], [*base, *(f"algorithm.{setting}" for setting in settings)])


def turn(length: int, finished: bool = True) -> Turn:
    return Turn(CASE, "", finished, 0, (5,) * length, (0.0,) * length)


def dapo(length: int, limit: int, cache: int) -> float:
    """Equation 13 of the paper, case by case."""
    if length <= limit - cache:
        return 0.0
    if length <= limit:
        return ((limit - cache) - length) / cache
    return -1.0


@pytest.mark.parametrize("cache", [1, 4, 10])
def test_long_answers_are_punished_softly(cache: int) -> None:
    penalty = LengthPenalty.of(configured(f"overlong_buffer={cache}", "overlong_penalty=3"))
    assert penalty
    for length in range(1, 11):
        assert -penalty(turn(length)) == pytest.approx(3 * dapo(length, 10, cache))


def test_one_column_has_all_penalties_of_a_turn() -> None:
    """Of 8 tokens two lie in the buffer of four; the second was cut off after 10."""
    turns = [turn(8), turn(10, finished=False), turn(3)]
    rubric = make_rubric(configured("overlong_buffer=4", "missing_eos_penalty=0.25"))
    assert rubric.kinds == ("turn", "penalty")
    assert rubric(Episode(CASE, [], 0, turns)).values.tolist() == [[0, -0.5], [0, -1.25], [0, 0]]
    rubric = make_rubric(configured("missing_eos_penalty=0.25"))
    assert rubric(Episode(CASE, [], 0, turns)).values.tolist() == [[0, 0], [0, -0.25], [0, 0]]
    assert make_rubric(configured()).kinds == ("turn",)


def test_the_buffer_is_part_of_an_answer() -> None:
    with pytest.raises(ConfigError, match=r"overlong_buffer=11 is more than sampling\.max_new_tokens=10"):
        configured("overlong_buffer=11")
