"""Gold calls that accept several values of an argument, or leave it open: what is right, and what it earns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tl_jax.tooluse.metrics import Scoring, score_prediction
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Call, Case, DataError, Message, Tool

NAMES = ("path", "mode", "size", "depth", "token")
OPEN = Tool("open", parameters={"type": "object", "properties": {name: {} for name in NAMES}, "required": ["path"]})
GOLD = Call(
    "open",
    {"path": "a", "mode": "r", "token": "x"},
    wild=("token",),
    accepted={"mode": ["read", None], "size": [1, 2]},
    optional=("mode",),
)
CASE = Case("1", (OPEN,), (Message("user", "Open a."),), ((GOLD,),), suite="s")

RIGHT = [
    "open(path='a', token='x')",
    "open(path='a', token='y', mode='r')",
    "open(token=5, mode='read', path='a')",
    "open(path='a', token='x', mode=None, size=2)",
    "open(path='a', token='x', size=1)",
]
WRONG = {
    "open(path='b', token='x')": "wrong_value",
    "open(path='a', token='x', mode='w')": "wrong_value",
    "open(path='a', token='x', size=3)": "wrong_value",
    "open(path='a')": "missing_parameter",
    "open(token='x')": "missing_parameter",
    "open(path='a', token='x', depth=1)": "redundant_parameter",
    "open(path='a', token='x', length=1)": "hallucinated_parameter",
}


@pytest.mark.parametrize("answer", RIGHT)
@pytest.mark.parametrize("profile", ["paper", "monotone", "binary", "toolrl"])
def test_everything_accepted_earns_the_most(answer: str, profile: str) -> None:
    best = score("f()", Case("2", (Tool("f"),), CASE.messages, ((Call("f"),),)), profile).value
    assert score(answer, CASE, profile).value == pytest.approx(best)


@pytest.mark.parametrize(("answer", "category"), WRONG.items())
@pytest.mark.parametrize("profile", ["paper", "monotone", "binary", "toolrl"])
def test_anything_else_earns_less(answer: str, category: str, profile: str) -> None:
    reward = score(answer, CASE, profile)
    assert reward.category == category
    assert reward.value < score(RIGHT[0], CASE, profile).value


@pytest.mark.parametrize("scoring", [Scoring(), Scoring("all", strict=True)])
def test_metrics(scoring: Scoring) -> None:
    assert all(score_prediction(answer, CASE, scoring).cf for answer in RIGHT)
    assert {answer: score_prediction(answer, CASE, scoring).error for answer in WRONG} == WRONG


def test_a_wrong_value_is_told_against_the_first_right_one() -> None:
    assert "'size' is 3, not 1" in score("open(path='a', token='x', size=3)", CASE).explanation


def test_rows_say_it(tmp_path: Path) -> None:
    row = CASE.to_json()
    assert row["gold"] == [
        [
            {
                "name": "open",
                "arguments": {"path": "a", "mode": "r", "token": "x"},
                "wild": ["token"],
                "accepted": {"mode": ["read", None], "size": [1, 2]},
                "optional": ["mode"],
            }
        ]
    ]
    (tmp_path / "cases.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert [*read_cases(tmp_path / "cases.jsonl")] == [CASE] == [Case.from_json(row)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"accepted": ["read"]}, r"accepted: must be a JSON object, not list"),
        ({"accepted": {"mode": "read"}}, r"accepted\.mode: must be a list of values"),
        ({"optional": ["mod"]}, r"optional\[0\]: 'mod' is none of the arguments"),
        ({"optional": "mode"}, r"optional: must be a list, not str"),
        ({"wild": [1]}, r"wild: must be a list of argument names"),
        ({"acepted": {}}, r"acepted: unknown field; did you mean 'accepted'\?"),
    ],
)
def test_bad_rows_are_named(change: dict[str, object], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Call.from_json(GOLD.to_json() | change)
