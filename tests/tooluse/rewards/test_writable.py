"""Gold answers that their own format cannot say are found, named, and refused, left out or kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_jax.errors import UserError
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.rewards.writable import unwritable_gold, why_unwritable
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperFullRenderer, PaperRenderer, ReleasedRenderer, RenderError

PAPER = PaperRenderer()


def case(*gold: Call, name: str = "1", kind: Any = "alternatives", offered: bool = True) -> Case:
    """With its gold calls as alternatives, or together."""
    tools = {call.name: Tool(call.name, "", {"properties": {key: {} for key in call.arguments}}) for call in gold}
    alternatives = (gold,) if kind != "alternatives" else tuple((call,) for call in gold)
    return Case(name, tuple(tools.values()) if offered else (), (Message("user", "?"),), alternatives, kind)


LONG, HUGE = Call("write", {"text": "x" * 20_001}), Call("add", {"a": 10**400})
FINE = Call("add", {"a": 1})


@pytest.mark.parametrize(
    "call",
    [
        FINE,
        Call("f"),
        Call("Tide Table API", {"country": "us"}),
        Call("stripe.list", {"created[gte]": 5, "limit": 1}),
        Call("f", {"my arg": 1, "#": 2}),
        Call("lookup()", {"a": 1}),
        Call("f", {"a": [1.0, None, True, {"b": 'say "hi"\n'}], "b": -1e-9, "名": "\u2028"}),
    ],
)
def test_what_a_tools_offer_makes_clear_can_be_said(call: Call) -> None:
    for renderer in (PAPER, PaperFullRenderer(), ReleasedRenderer()):
        assert why_unwritable(case(call), renderer) == ""
        assert score(renderer.answer([call]), case(call)).value == 1.0


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (LONG, "longer than 20000 characters"),
        (HUGE, "a number is too large"),
        (Call("add", {"a": 10**5_000}), "4300 digits"),
        (Call("add", {"a": float("inf")}), "not a value"),
        (Call("f", {"a": "\ud800"}), "half of a surrogate pair"),
        (Call("f", {"a=b": 1}), "is not a value"),
        (Call("f", {str(i): i for i in range(1001)}), "more than 1000 arguments"),
        (Call("", {"a": 1}), "expected"),
    ],
)
def test_what_cannot_be_said(call: Call, reason: str) -> None:
    assert reason in why_unwritable(case(call), PAPER)


def test_a_tuple_is_a_list_and_one_is_one() -> None:
    assert why_unwritable(case(Call("f", {"a": (1, 2), "b": 1.0})), PAPER) == ""


def test_what_reads_back_as_something_else_is_told() -> None:
    class Lossy(PaperRenderer):
        name = "lossy"

        def answer(self, calls: Any, content: str = "") -> str:
            return super().answer(calls, content).replace("2", "3").replace("sub", "add")

    class Refusing(PaperRenderer):
        def answer(self, calls: Any, content: str = "") -> str:
            raise RenderError("the chat template refuses these messages")

    assert why_unwritable(case(Call("add", {"a": 2})), Lossy()) == "is read back with another value: 'a' is 3, not 2"
    assert "another tool" in why_unwritable(case(Call("sub", {"a": 1})), Lossy())
    assert "refuses" in why_unwritable(case(FINE), Refusing())


def test_one_alternative_is_enough_and_all_of_a_sequence_are_needed() -> None:
    assert why_unwritable(case(LONG, FINE), PAPER) == ""
    assert why_unwritable(case(FINE, LONG, kind="sequence"), PAPER) == "longer than 20000 characters"
    assert why_unwritable(case(FINE, HUGE, kind="parallel"), PAPER) == "a number is too large"
    half = Call("write", {"text": "x" * 12_000})
    assert why_unwritable(case(half, half, kind="sequence"), PAPER) == ""
    assert why_unwritable(case(half, half, kind="parallel"), PAPER) == "longer than 20000 characters"


def test_nothing_to_say_is_no_fault() -> None:
    none = Case("1", (), (Message("user", "?"),))
    assert [why_unwritable(one, PAPER) for one in (none, case(kind="parallel"), case(LONG, kind="none"))] == [""] * 3


def test_what_gold_leaves_open_may_differ() -> None:
    gold = Call("f", {"a": "x"}, wild=("a",), accepted={"a": ["y"]}, optional=("a",))
    assert why_unwritable(case(gold), PAPER) == ""


def test_of_all_right_answers_the_shortest_is_enough() -> None:
    text = LONG.arguments["text"]
    for free in (
        Call("write", {"text": text}, wild=("text",)),
        Call("write", {"text": text}, accepted={"text": ["brief"]}),
        Call("write", {"text": text, "more": 1}, optional=("text",)),
    ):
        assert why_unwritable(case(free), PAPER) == ""
    for bound in (
        Call("write", {"text": text, "a": text}, wild=("text",)),
        Call("write", {"text": text}, accepted={"text": [text + "y"], "other": ["brief"]}),
        Call("write", {"text": text, "more": 1}, optional=("more",)),
    ):
        assert why_unwritable(case(bound), PAPER) == "longer than 20000 characters"


def test_policies() -> None:
    cases = [case(LONG, name=f"long{i}") for i in range(5)] + [case(FINE, name="fine")]
    for policy, kept in (("skip", ["fine"]), ("keep", [one.id for one in cases])):
        found = unwritable_gold(cases, PAPER, policy)  # type: ignore[arg-type]
        assert [one.id for one in cases if found.keeps(one)] == kept
        assert found.line().startswith("5 cases have a gold answer that the format 'paper' cannot say")
        assert found.line().endswith("long2 (longer than 20000 characters), ...")
    assert unwritable_gold(cases[-1:], PAPER, "error").line() == ""
    with pytest.raises(UserError, match=r"1 case has a gold answer .*: long0 \(longer.*unwritable=skip"):
        unwritable_gold([cases[0], cases[-1]], PAPER, "error")


def test_real_gold_can_be_said(shared_data: Path) -> None:
    for path in sorted((shared_data / "eval").glob("*.jsonl")):
        for renderer in (PAPER, ReleasedRenderer()):
            assert unwritable_gold(read_cases(path), renderer).reasons == {}, path


def test_the_shared_file(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "unwritable_cases.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    assert unwritable_gold(read_cases(path), PAPER).reasons == {"n13": "longer than 20000 characters"}
