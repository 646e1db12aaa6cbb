"""A user's own table: what is read, and what is said about mistakes in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.score import RewardTable, resolve_profile, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool

CASE = Case(
    "c",
    (Tool("f", "", {"properties": {"n": {"type": "integer"}}}),),
    (Message("user", "?"),),
    ((Call("f", {"n": 1}),),),
)


def test_a_table_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("correct: 3\nwrong_value: 0.5\nparameter_floor: -1\ncoerce_strings: true\n")
    assert resolve_profile(str(path)) == RewardTable(
        "mine", correct=3, wrong_value=0.5, parameter_floor=-1, coerce_strings=True
    )
    for prediction, value in (("f(n=1)", 3), ("f(n='1')", 3), ("f(n=2)", 0.5), ("f(m=2)", -1), ("g()", -2)):
        assert score(prediction, CASE, str(path)).value == value
    path.write_text("name: other\nparameter_floor: null\n")
    os.utime(path, ns=(1, 1))  # changed, whatever the clock's resolution
    assert resolve_profile(str(path)) == RewardTable("other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrong_tol: -1", r"mine.yaml: wrong_tol: unknown key; did you mean 'wrong_tool'\?"),
        ("zzz: -1", r"mine.yaml: zzz: unknown key; known: \['name', 'parse_failure'"),
        ("3: -1", r"mine.yaml: 3: unknown key"),
        ("wrong_tool: much", r"mine.yaml: wrong_tool: must be a finite number, not 'much'"),
        ("wrong_tool: .inf", r"wrong_tool: must be a finite number, not inf"),
        ("wrong_tool: true", r"wrong_tool: must be a finite number, not True"),
        ("wrong_tool:", r"wrong_tool: must be a finite number, not None"),
        ("coerce_strings: 1", r"coerce_strings: must be true or false"),
        ("wrong_value: 1", r"wrong_value: must be less than 'correct' \(1\)"),
        ("missing_parameter: 0.6\nredundant_parameter: 0.6", r"may add up to as much as 'correct'"),
        ("parameter_floor: 1", r"parameter_floor: must be less than 'correct'"),
        ("- 1", r"mine.yaml: must be a mapping"),
        ("", r"mine.yaml: must be a mapping"),
        ("a: [", r"mine.yaml: is not YAML"),
        ("!!python/object/apply:os.system [ls]", r"mine.yaml: is not YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        resolve_profile(str(path))


def test_what_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no.yaml: cannot be read: No such file"):
        resolve_profile(str(tmp_path / "no.yaml"))
    with pytest.raises(UserError, match=r"unknown reward 'zzz'; known: paper, monotone, binary, toolrl, reference"):
        resolve_profile("zzz")


def test_calls_cannot_be_added_to_dilute_a_bad_one() -> None:
    """Even where an answer that is no call at all is worth more than a bad call."""
    lenient = RewardTable("lenient", parse_failure=0.0, wrong_tool=-2.0)
    tools = (*CASE.tools, Tool("g"))
    two = Case("c", tools, CASE.messages, ((Call("f", {"n": 1}), Call("f", {"n": 2})),), "parallel")
    bad = score("g()\ng()", two, lenient).value
    assert bad == -2
    assert score("g()\ng()\ng()\ng()", two, lenient).value <= bad
