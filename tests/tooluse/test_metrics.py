"""TS, PI and CF on hand-made cases and on the gold calls of the real test sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.metrics import NO_GOLD, CaseScore, Policy, score_prediction, summarise
from tl_jax.tooluse.render import PaperRenderer, ReleasedRenderer
from tl_jax.tooluse.schema import Call, Case, Message, Tool


def schema(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {} for name in names}}


TOOLS = (
    Tool("get-user", "", schema("id", "fields")),
    Tool("done", "", schema("answer")),
    Tool("finish", "", schema("answer")),
)
GET = Call("get-user", {"id": 500, "fields": ["a"]})


def case(*gold: tuple[Call, ...], kind: Any = "alternatives", **meta: Any) -> Case:
    return Case("c", TOOLS, (Message("user", "x"),), gold, kind, meta=meta)


@pytest.mark.parametrize(
    ("prediction", "ts", "pi", "cf", "error"),
    [
        ("get-user(id = 500, fields = ['a']) ", True, True, True, "correct"),
        ("get-user(id='500', fields=['a'])", True, True, True, "correct"),
        ("get-user(500, ['a'])", True, True, True, "correct"),
        ("get-user(id=500.0, fields='[\"a\"]')", True, True, True, "correct"),
        ("Let me look.\nget-user(500, fields=['a'])\nfinish(answer='x')", True, True, True, "correct"),
        ('{"name": "get-user", "arguments": {"fields": ["a"], "id": 500}} and so on', True, True, True, "correct"),
        ("get-user(id='501', fields=['a'])", True, True, False, "wrong_value"),
        ("get-user(id=True, fields=['a'])", True, True, False, "wrong_value"),
        ("get-user(id=500)", True, False, False, "missing_parameter"),
        ("get-user(id=500, fields=['a'], page=1)", True, False, False, "hallucinated_parameter"),
        ("done(answer='x')\nget-user(id=500, fields=['a'])", False, False, False, "wrong_tool"),
        ("get_user(id=500, fields=['a'])", False, False, False, "hallucinated_tool"),
        ("I do not know", False, False, False, "parse_failure"),
        ("", False, False, False, "parse_failure"),
    ],
)
def test_levels(prediction: str, ts: bool, pi: bool, cf: bool, error: str) -> None:
    assert score_prediction(prediction, case((GET,))) == CaseScore(ts, pi, cf, error)


def test_defaults_do_not_excuse_other_argument_names() -> None:
    tool = Tool("f", "", {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}})
    example = Case("c", (tool,), (Message("user", "x"),), ((Call("f"),),))
    assert score_prediction("f(n=1)", example) == CaseScore(True, False, False, "redundant_parameter")


def test_finish_and_ask_need_no_equal_values() -> None:
    finish = case((Call("finish", {"answer": "42"}),))
    assert score_prediction("finish(answer='something else')", finish).cf
    assert not score_prediction("finish()", finish).pi
    noised = case((Call("done", {"answer": "42"}),), finish="done")
    assert score_prediction("done(answer='something else')", noised).cf
    renamed = case((Call("finish", {"answer": "42"}),), finish="done", ask_to_user="ask")
    assert not score_prediction("finish(answer='something else')", renamed).cf


def test_any_gold_call_and_wild_arguments() -> None:
    sequence = case((GET, Call("done", {"answer": "x"}, wild=("answer",))), kind="sequence")
    assert score_prediction("done(answer='whatever')", sequence).cf
    either = case((GET,), (Call("done", {"answer": "x"}),))
    assert score_prediction("done(answer='y')", either) == CaseScore(True, True, False, "wrong_value")


def test_policy_all_wants_every_call_and_no_other() -> None:
    two = case((GET, Call("done", {"answer": "x"})), kind="parallel")
    get, done = "get-user(id=500, fields=['a'])", "done(answer='x')"
    assert score_prediction(get, two).cf
    assert score_prediction(get, two, "all") == CaseScore(False, False, False, "parse_failure")
    assert score_prediction(f"{done}\n{get}", two, "all") == CaseScore(True, True, True, "correct")
    assert score_prediction(f"{get}\n{get}", two, "all") == CaseScore(False, False, False, "wrong_tool")
    assert score_prediction(f"done(answer='y')\n{get}", two, "all") == CaseScore(True, True, False, "wrong_value")
    assert score_prediction(f"{done}\n{get}\n{get}", two, "all") == CaseScore(False, False, False, "parse_failure")
    with pytest.raises(ValueError, match="unknown policy"):
        score_prediction(get, two, "most")  # type: ignore[arg-type]


def test_summary_counts_unscored_cases_apart() -> None:
    scores = [
        score_prediction(text, case((GET,))) for text in ("get-user(500, ['a'])", "get-user(1, ['a'])", "done()", "x")
    ]
    unscored = score_prediction("x", case(kind="none"))
    assert unscored.error == NO_GOLD
    summary = summarise([*scores, unscored])
    assert (summary.cases, summary.unscored) == (4, 1)
    assert (summary.ts, summary.pi, summary.cf) == (50.0, 50.0, 25.0)
    assert summary.errors == {"correct": 1, "wrong_value": 1, "wrong_tool": 1, "parse_failure": 1}
    assert summarise([unscored]).ts == 0.0


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(["get-user(", "id=", "500", "'", ")", "\n", "[", ","])).map("".join))
)
def test_never_raises_and_levels_build_on_each_other(prediction: str) -> None:
    for policy in ("first", "all"):
        result = score_prediction(prediction, case((GET,)), policy)
        assert result.ts >= result.pi >= result.cf
        assert result.cf == (result.error == "correct")


def as_json(calls: Sequence[Call]) -> str:
    return json.dumps([{"name": call.name, "arguments": dict(call.arguments)} for call in calls])


@pytest.mark.parametrize(
    "write", [PaperRenderer().answer, ReleasedRenderer().answer, as_json], ids=["paper", "released", "json"]
)
def test_gold_calls_score_100(shared_data: Path, write: Callable[[Sequence[Call]], str]) -> None:
    for path in sorted((shared_data / "eval").glob("*.jsonl")):
        cases = [Case.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        pairs = [(write(alternative), example) for example in cases for alternative in example.gold]
        for policy in ("first", "all"):
            summary = summarise(score_prediction(answer, example, policy) for answer, example in pairs)
            assert summary.cases == len(pairs)
            if pairs:
                assert (summary.ts, summary.pi, summary.cf) == (100.0, 100.0, 100.0), path.name


@pytest.mark.parametrize("policy", ["first", "all"])
@pytest.mark.parametrize(
    ("prediction", "right", "error"),
    [("It is sunny.", True, "correct"), ("f()", False, "wrong_tool"), ("", False, "parse_failure")],
)
def test_where_no_call_is_needed_text_is_right(policy: Policy, prediction: str, right: bool, error: str) -> None:
    greeting = Case("1", (Tool("f"),), (Message("user", "hi"),), gold=((),))
    assert score_prediction(prediction, greeting, policy) == CaseScore(right, right, right, error)
