"""Gold answers that leave their schema: found, named, and right all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.rewards.gold import gold_faults
from tl_jax.tooluse.rewards.score import PROFILES, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer

PROPERTIES: dict[str, Any] = {
    "text": {"type": "string", "enum": ["a", "b"]},
    "count": {"type": "integer"},
    "share": {"type": "number"},
    "both": {"type": ["string", "null"]},
    "list": {"type": "array"},
    "any": {},
    "odd": {"type": "date"},
    "union": {"type": [{"x": 1}]},
}
TOOL = Tool("f", "", {"properties": PROPERTIES, "required": ["text"]})


def case(*calls: Call) -> Case:
    return Case("c", (TOOL,), (Message("user", "?"),), (calls,), "parallel")


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"text": "a"}, []),
        ({"text": "a", "count": 2.0, "share": 1, "both": None, "list": [], "any": {}, "odd": 3, "union": 1}, []),
        ({}, ["the required argument 'text' is missing"]),
        ({"text": "c"}, ["argument 'text' is none of the 2 values allowed"]),
        ({"text": "a", "count": "2"}, ["argument 'count' is string, not integer"]),
        ({"text": "a", "count": True}, ["argument 'count' is boolean, not integer"]),
        ({"text": "a", "count": 2.5}, ["argument 'count' is number, not integer"]),
        ({"text": "a", "both": 1}, ["argument 'both' is integer, not string or null"]),
        ({"text": "a", "page": 1}, ["argument 'page' is not in the schema"]),
    ],
)
def test_faults_of_one_call(arguments: dict[str, Any], faults: list[str]) -> None:
    example = case(Call("f", arguments))
    assert gold_faults(example) == [f"gold[0]: f: {fault}" for fault in faults]
    for profile in PROFILES.values():
        if not profile.name.startswith("reference"):
            assert score(PaperRenderer().answer(example.gold[0]), example, profile).category == "correct"


def test_faults_of_several() -> None:
    assert gold_faults(case(Call("f", {"text": 1}, wild=("text",)), Call("g"))) == [
        "gold[0]: g: the tool is not offered"
    ]
    assert gold_faults(Case("c", (), ())) == []


def test_real_gold_that_leaves_its_schema_scores_one(shared_data: Path) -> None:
    faulty = [
        one
        for path in sorted((shared_data / "eval").glob("*.jsonl"))
        for one in read_cases(path)
        if one.gold_kind != "none" and gold_faults(one)
    ]
    assert len(faulty) >= 5
    for one in faulty:
        for gold in one.gold:
            calls = gold[:1] if one.gold_kind == "sequence" else gold
            assert score(PaperRenderer().answer(calls), one).value == 1.0, one.id
