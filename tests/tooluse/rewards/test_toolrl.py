"""ToolRL's reward against the paper's formula, written out for lists of calls with an exhaustive pairing."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.rewards.score import explain, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool

TOOLS = tuple(
    Tool(name, "", {"type": "object", "properties": {"a": {}, "b": {"default": 7}, "c": {}}})
    for name in ("f", "g", "h")
)


def case(*gold: Call) -> Case:
    return Case("c", TOOLS, (Message("user", "?"),), (gold,), "parallel" if len(gold) > 1 else "alternatives")


def published(predicted: list[dict[str, Any]], gold: list[dict[str, Any]]) -> float:
    """R_correct of section 3.3 for at most as many predicted calls as gold calls."""
    names = [Counter(call["name"] for call in calls) for calls in (predicted, gold)]
    r_name = sum((names[0] & names[1]).values()) / sum((names[0] | names[1]).values())
    best = 0.0
    for order in permutations(gold, len(predicted)):
        total = 0.0
        for p, g in zip(predicted, order, strict=True):
            if p["name"] == g["name"]:
                keys_p, keys_g = set(p["arguments"]), set(g["arguments"])
                total += len(keys_p & keys_g) / len(keys_p | keys_g) if keys_p | keys_g else 1.0
                total += sum(key in p["arguments"] and p["arguments"][key] == g["arguments"][key] for key in keys_g)
        best = max(best, total)
    most = 1 + len(gold) + sum(len(call["arguments"]) for call in gold)
    return 6 * (r_name + best) / most - 3


arguments = st.dictionaries(st.sampled_from("abc"), st.integers(1, 2), max_size=3)
calls = st.fixed_dictionaries({"name": st.sampled_from("fgh"), "arguments": arguments})


@given(st.lists(calls, min_size=1, max_size=3), st.lists(calls, min_size=1, max_size=3))
def test_equal_to_the_published_formula(predicted: list[dict[str, Any]], gold: list[dict[str, Any]]) -> None:
    predicted = predicted[: len(gold)]
    example = case(*(Call(**call) for call in gold))
    reward = score(json.dumps(predicted), example, "toolrl")
    assert reward.value == pytest.approx(1 + published(predicted, gold))
    assert (reward.category == "correct") == (reward.value == 4)


def test_by_hand() -> None:
    gold = case(Call("f", {"a": 1, "c": 2}))
    for prediction, value in (
        ("f(a=1, c=2)", 1 + 3),
        ("f(c=2, a=1, b=7)", 1 + 3),  # b is as good as left out
        ("f(a=1, c=3)", 1 + 6 * (1 + 1 + 1) / 4 - 3),
        ("f(a=1)", 1 + 6 * (1 + 1 / 2 + 1) / 4 - 3),
        ("f(a=1, c=2, b=1)", 1 + 6 * (1 + 2 / 3 + 2) / 4 - 3),
        ("g(a=1, c=2)", 1 - 3),
        ("unknown(a=1, c=2)", 1 - 3),
        ("Let me call f(a=1, c=2).", 0 - 3),
        ("", 0 - 3),
    ):
        assert score(prediction, gold, "toolrl").value == pytest.approx(value), prediction
    assert score("No need.", case(), "toolrl").value == 4
    assert score("f()", case(), "toolrl").value == -2
    assert score("", case(), "toolrl").value == -3


@given(st.lists(calls, min_size=1, max_size=4), calls)
def test_guessing_pays_no_more_than_one_of_the_guesses(guesses: list[dict[str, Any]], gold: dict[str, Any]) -> None:
    """On average over them. By the published formula the second guess would be almost free of charge."""
    example = case(Call(**gold))
    alone = [score(json.dumps(guess), example, "toolrl").value for guess in guesses]
    assert score(json.dumps(guesses), example, "toolrl").value <= sum(alone) / len(alone) + 1e-9


def test_it_explains_itself() -> None:
    found = explain("f(a=1, d=3)", case(Call("f", {"a": 1, "c": 2})), "toolrl")
    assert (found.category, found.arguments) == ("hallucinated_parameter", ("d", "c"))
    assert found.arithmetic == "+1 +6 (1 + 0.333333 + 1) / 4 -3 = +1.5"
    assert explain("?", case(Call("f")), "toolrl").arithmetic == "+0 -3 = -3"
