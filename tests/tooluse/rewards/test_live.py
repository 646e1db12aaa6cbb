"""The reward that reads what the tools say."""

from __future__ import annotations

import pytest

from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.rewards.live import COSTS, live_reward
from tl_jax.tooluse.schema import Call

CALL = Call("search", {"query": "tea"})


@pytest.mark.parametrize(
    ("result", "value", "category"),
    [
        ('{"shops": ["Mariage"]}', 1.0, "success"),
        ("Error: unknown tool 'search'", -2.0, "tool_hallucination"),
        ("Error: TypeError: search() got an unexpected keyword argument 'q'", -0.8, "parameter_hallucination"),
        ("Error: TypeError: search() missing 1 required positional argument: 'query'", -0.5, "missing_parameter"),
        ("Error: TimeoutError: the call took longer than 5 seconds", 0.0, "environment"),
    ],
)
def test_each_category_has_its_value(result: str, value: float, category: str) -> None:
    reward = live_reward([CALL], [result])
    assert (reward.value, reward.category) == (value, category)
    assert "search" in reward.explanation


def test_every_category_of_mae_has_a_cost_and_none_is_a_gain() -> None:
    assert COSTS.keys() == set(Category)
    assert all(cost <= 0 for cost in COSTS.values())


def test_several_calls_are_averaged_and_named_by_the_worst() -> None:
    reward = live_reward([CALL, CALL], ["fine", "Error: unknown tool 'search'"])
    assert (reward.value, reward.category) == (-0.5, "tool_hallucination")


def test_an_answer_in_words_is_worth_nothing() -> None:
    assert (live_reward([], []).value, live_reward([], []).category) == (0, "no_call")
