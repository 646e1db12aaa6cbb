"""The reward that reads what the tools say."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.rewards.live import COSTS, live_reward
from tl_jax.tooluse.rewards.verdict import Reward
from tl_jax.tooluse.schema import Call, Case, Message, Tool

CALL = Call("search", {"query": "tea"})
OPENING = (Message("user", "Where is tea?"),)
UNKNOWN = "Error: unknown tool 'search'"
Step = tuple[Sequence[Call], Sequence[str]] | str


def episode(*steps: Step, **options: Any) -> list[Reward]:
    """What the turns of an episode earn: calls with their results, or words."""
    messages, rewards = OPENING, []
    for step in steps:
        text, (calls, results) = (step, ((), ())) if isinstance(step, str) else ("", step)
        case = Case("c", (Tool("search"),), messages)
        turn = SimpleNamespace(case=case, text=text, finished=True, calls=calls, results=results)
        rewards.append(live_reward(turn, **options))
        answered = (Message("tool", result, name=call.name) for call, result in zip(calls, results, strict=True))
        messages = (*messages, Message("assistant", text, tuple(calls)), *answered)
    return rewards


def total(*steps: Step, **options: Any) -> float:
    return round(sum(reward.value for reward in episode(*steps, **options)), 6)


def looked_for(word: str) -> Step:
    return [Call("search", {"query": word})], [f"a page on {word}"]


@pytest.mark.parametrize(
    ("result", "value", "category"),
    [
        ('{"shops": ["Mariage"]}', 1.0, "success"),
        (UNKNOWN, -2.0, "tool_hallucination"),
        ("Error: TypeError: search() got an unexpected keyword argument 'q'", -0.8, "parameter_hallucination"),
        ("Error: TypeError: search() missing 1 required positional argument: 'query'", -0.5, "missing_parameter"),
        ("Error: TimeoutError: the call took longer than 5 seconds", 0.0, "environment"),
    ],
)
def test_each_category_has_its_value(result: str, value: float, category: str) -> None:
    (reward,) = episode(([CALL], [result]), turn_cost=0)
    assert (reward.value, reward.category) == (value, category)
    assert "search" in reward.explanation


def test_every_category_of_mae_has_a_cost_and_none_is_a_gain() -> None:
    assert COSTS.keys() == set(Category)
    assert all(cost <= 0 for cost in COSTS.values())


def test_several_calls_are_averaged_and_named_by_the_worst() -> None:
    (reward,) = episode(([CALL, Call("find")], ["fine", UNKNOWN]))
    assert (reward.value, reward.category) == (-0.6, "tool_hallucination")


def test_repeats_earn_nothing_and_turns_cost() -> None:
    """Nine repeats of one successful call earned 9, and a call and an answer 1."""
    assert total(*[looked_for("tea")] * 9) == 0.1
    assert total(looked_for("tea"), "In the shop.") == 1.8
    assert [reward.category for reward in episode(*[looked_for("tea")] * 2)] == ["success", "repeat"]
    (twice,) = episode(([CALL, CALL], ["fine", "fine"]), turn_cost=0)
    assert twice.value == 0.5
    (_, failed, again) = episode(looked_for("tea"), ([CALL], [UNKNOWN]), ([CALL], [UNKNOWN]), turn_cost=0)
    assert failed.value == again.value == -2  # what fails is never free
    retried = episode(([CALL], ["Error: TimeoutError: too slow"]), ([CALL], ["fine"]), turn_cost=0)
    assert [reward.value for reward in retried] == [0, 1]  # nor is a second try a repeat of a success


@pytest.mark.parametrize("paid", [1, 2])
def test_no_episode_earns_more_by_going_on(paid: int) -> None:
    """Whatever succeeds in further turns: the bound is what the paid turns and the answer earn."""
    best = total(*(looked_for(str(number)) for number in range(paid)), "Found.", paid_turns=paid)
    assert best == pytest.approx(paid + 1 - 0.1 * (paid + 1))
    for turns in range(paid + 1, 9):
        words = [looked_for(str(number)) for number in range(turns)]
        assert total(*words, paid_turns=paid) < total(*words, "Found.", paid_turns=paid) < best
    both = [Call("search", {"query": word}) for word in "ab"], ["fine", "fine"]
    assert episode(both, paid_turns=paid, turn_cost=0)[0].value == 1  # calls made at once are one turn


@pytest.mark.parametrize(
    ("words", "value", "category"),
    [
        ("In the shop.", 1.0, "no_call"),
        ("", 0.0, "parse_failure"),
        ("search(query='tea'", 0.0, "parse_failure"),
    ],
)
def test_an_answer_in_words_earns_once_something_succeeded(words: str, value: float, category: str) -> None:
    assert episode(looked_for("tea"), words, turn_cost=0)[-1].value == value
    assert episode(looked_for("tea"), words)[-1].category == category
    assert total(words, turn_cost=0) == total(([CALL], ["Error: TimeoutError"]), words, turn_cost=0) == 0


def test_an_answer_that_was_cut_off_earns_nothing() -> None:
    case = Case("c", (), (*OPENING, Message("assistant", "", (CALL,)), Message("tool", "fine")))
    turn = SimpleNamespace(case=case, text="In the", finished=False, calls=(), results=())
    assert live_reward(turn, turn_cost=0).value == 0


def test_what_was_found_before_the_user_spoke_again_is_paid_anew() -> None:
    messages = (*OPENING, Message("assistant", "", (CALL,)), Message("tool", "fine"), Message("user", "And now?"))
    turn = SimpleNamespace(case=Case("c", (), messages), text="", finished=True, calls=[CALL], results=["fine"])
    assert live_reward(turn, turn_cost=0).value == 1
