"""A user's own table: what is read, and what is said about mistakes in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.errors import UserError
from tl_jax.tooluse.rewards.matching import PAIRINGS, Pairing
from tl_jax.tooluse.rewards.profiles import AMOUNTS
from tl_jax.tooluse.rewards.score import PROFILES, RewardTable, explain, resolve_profile, score
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
        ("wrong_tool: 1" + 400 * "0", r"wrong_tool: must be a finite number, not 1000"),
        ("wrong_tool: .nan", r"wrong_tool: must be a finite number, not nan"),
        ("parameter_floor: low", r"parameter_floor: must be a finite number or null, not 'low'"),
        ("coerce_strings: 1", r"coerce_strings: must be true or false, not 1"),
        ("name: 3", r"mine.yaml: name: must be text, not 3"),
        ("pairing: [best]", r"mine.yaml: pairing: must be text, not \['best'\]"),
        ("pairing: in_oder", r"mine.yaml: pairing: unknown pairing 'in_oder'; did you mean 'in_order'\?"),
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
    known = ", ".join(PROFILES)
    with pytest.raises(UserError, match=f"unknown reward 'zzz'; known: {known} or the path of a YAML file"):
        resolve_profile("zzz")


def test_calls_cannot_be_added_to_dilute_a_bad_one() -> None:
    """Even where an answer that is no call at all is worth more than a bad call."""
    lenient = RewardTable("lenient", parse_failure=0.0, wrong_tool=-2.0)
    tools = (*CASE.tools, Tool("g"))
    two = Case("c", tools, CASE.messages, ((Call("f", {"n": 1}), Call("f", {"n": 2})),), "parallel")
    bad = score("g()\ng()", two, lenient).value
    assert bad == -2
    assert score("g()\ng()\ng()\ng()", two, lenient).value <= bad


# --- several calls ----------------------------------------------------------------------------------------------------

LETTERS = (Tool("f", "", {"properties": {"n": {"type": "integer"}}}), Tool("g"))
ONE_TWO_THREE = Case("c", LETTERS, CASE.messages, (tuple(Call("f", {"n": n}) for n in (1, 2, 3)),), "parallel")


def written(*numbers: int) -> str:
    return "\n".join(f"f(n={n})" for n in numbers)


@pytest.mark.parametrize(
    ("numbers", "value"),
    [
        ((1, 2, 3), 1.0),
        ((1, 3, 2), (1 - 0.25 - 0.25) / 3),
        ((3, 1, 2), -0.25),
        ((1, 2), (1 + 1 - 2) / 3),
        ((2, 3), (-0.25 - 0.25 - 2) / 3),
        ((1, 2, 3, 3), (1 + 1 + 1 - 2) / 4),
        ((9, 1, 2, 3), (-0.25 * 3 - 2) / 4),
    ],
)
def test_calls_in_the_order_of_the_gold_calls(tmp_path: Path, numbers: tuple[int, ...], value: float) -> None:
    path = tmp_path / "ordered.yaml"
    path.write_text("pairing: in_order\n")
    assert score(written(*numbers), ONE_TWO_THREE, str(path)).value == pytest.approx(value)
    assert score(written(*numbers), ONE_TWO_THREE, str(path)) == score(
        written(*numbers), ONE_TWO_THREE, RewardTable("ordered", pairing="in_order")
    )


def test_the_order_of_calls_that_are_right_in_any_order_is_told() -> None:
    found = explain(written(1, 3, 2), ONE_TWO_THREE, RewardTable("ordered", pairing="in_order"))
    assert found.arithmetic == "mean of 3 calls: +1 -0.25 -0.25 = +0.166667"
    assert [fault.detail for fault in found.faults] == ["'n' is 3, not 2", "'n' is 2, not 3"]


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_every_pairing_gives_the_right_answer_the_full_reward(pairing: str) -> None:
    assert score(written(1, 2, 3), ONE_TWO_THREE, RewardTable("own", pairing=pairing)).value == 1


def test_a_pairing_from_outside() -> None:
    """The last call answers the first gold call, and so on."""
    backwards = Pairing("backwards", lambda scores: [(len(scores) - 1 - i, i) for i in range(len(scores))], "")
    with pytest.raises(UserError, match="pairing: unknown pairing 'backwards'"):
        RewardTable("own", pairing="backwards")
    with PAIRINGS.added(backwards):
        assert score(written(3, 2, 1), ONE_TWO_THREE, RewardTable("own", pairing="backwards")).value == 1
        assert score(written(1, 2, 3), ONE_TWO_THREE, RewardTable("own", pairing="backwards")).value == 0.5 / 3


def test_a_profile_from_outside() -> None:
    """One record: it is graded by, offered by the command line, and stands in the documents' tables."""
    with pytest.raises(UserError, match="unknown reward 'strict'"):
        resolve_profile("strict")
    with PROFILES.added(RewardTable("strict", wrong_tool=-1.75, pairing="in_order", description="order counts")):
        assert score(written(1, 3, 2), ONE_TWO_THREE, "strict").value == pytest.approx(0.5 / 3)
        with pytest.raises(UserError, match="did you mean 'strict'"):
            resolve_profile("strickt")
        assert "|strict|" in CliRunner().invoke(main, ["reward", "--help"]).output
        assert "| `strict` | order counts | `in_order` |" in PROFILES.table()
        assert "| `wrong_tool` | -1.5 | -1.5 | 0 | -1.75 |" in AMOUNTS.table()
    assert "strict" not in AMOUNTS.table()
