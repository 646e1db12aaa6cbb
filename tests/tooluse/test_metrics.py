"""TS, PI and CF on hand-made cases and on the gold calls of the real test sets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.intervals import bootstrap_interval
from tl_jax.tooluse.metrics import NO_GOLD, CaseScore, Policy, Scoring, score_prediction, summarise
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import PaperRenderer, ReleasedRenderer

ALL, STRICT, ROTBENCH = Scoring("all"), Scoring(strict=True), Scoring(rotbench=True)


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
        ("`get-user(id=500, fields=['a'])`", True, True, True, "correct"),
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
    assert score_prediction(get, two, ALL) == CaseScore(False, False, False, "parse_failure")
    assert score_prediction(f"{done}\n{get}", two, ALL) == CaseScore(True, True, True, "correct")
    assert score_prediction(f"{get}\n{get}", two, ALL) == CaseScore(False, False, False, "wrong_tool")
    assert score_prediction(f"done(answer='y')\n{get}", two, ALL) == CaseScore(True, True, False, "wrong_value")
    assert score_prediction(f"{done}\n{get}\n{get}", two, ALL) == CaseScore(False, False, False, "parse_failure")
    with pytest.raises(ValueError, match="unknown policy"):
        score_prediction(get, two, Scoring("most"))  # type: ignore[arg-type]


def test_policy_all_wants_no_more_than_the_open_calls() -> None:
    two = case((GET, Call("done", {"answer": "x"})), kind="open")
    get, done = "get-user(id=500, fields=['a'])", "done(answer='x')"
    for right in (get, done, f"{get}\n{done}", f"{done}\n{get}"):
        assert score_prediction(right, two, ALL) == CaseScore(True, True, True, "correct")
    assert score_prediction(f"{get}\n{get}", two, ALL) == CaseScore(False, False, False, "wrong_tool")
    assert score_prediction(f"{done}\n{get}\n{get}", two, ALL) == CaseScore(False, False, False, "parse_failure")


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


@pytest.mark.parametrize("policy", ["any", "all"])
@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("get-user(id=500, fields=['a'])", CaseScore(True, True, True, "correct")),
        ("get-user(id=500.0, fields=['a'])", CaseScore(True, True, True, "correct")),
        ("get-user(id='500', fields=['a'])", CaseScore(True, True, False, "wrong_value")),
        ("get-user(id=500, fields='[\"a\"]')", CaseScore(True, True, False, "wrong_value")),
        ("I call get-user(id=500, fields=['a'])", CaseScore(False, False, False, "parse_failure")),
        ("get-user(id=500, fields=['a']) as you wished", CaseScore(False, False, False, "parse_failure")),
        ("get-user(id=500, fields=['a']", CaseScore(False, False, False, "parse_failure")),
    ],
)
def test_strict_compares_types_and_wants_nothing_but_calls(
    policy: Policy, prediction: str, expected: CaseScore
) -> None:
    assert score_prediction(prediction, case((GET,)), Scoring(policy, strict=True)) == expected


def test_strict_looks_at_the_first_of_several_calls() -> None:
    get, done = "get-user(id=500, fields=['a'])", "done(answer='x')"
    assert score_prediction(f"{get}\n{done}", case((GET,)), STRICT).cf
    assert not score_prediction(f"{done}\n{get}", case((GET,)), STRICT).ts


def test_rotbench_gives_nothing_to_a_call_without_arguments() -> None:
    empty = case((Call("done"),), (GET,))
    assert score_prediction("done()", empty) == CaseScore(True, True, True, "correct")
    assert score_prediction("done()", empty, ROTBENCH) == CaseScore(False, False, False, "no_arguments")
    assert score_prediction("get-user()", case((GET,)), ROTBENCH) == CaseScore(False, False, False, "no_arguments")
    assert score_prediction("get-user(500, ['a'])", empty, ROTBENCH).cf
    assert score_prediction("nothing()", empty, ROTBENCH).error == "hallucinated_tool"


@pytest.mark.parametrize("name", [{}, {"a": 1}, [], ["done"], 3, True, "", None])
def test_a_finish_tool_whose_name_is_none_is_called_finish(name: Any) -> None:
    gold = Call("finish", {"answer": "x"})
    found = score_prediction("finish(answer='y')", case((gold,), finish=name, ask_to_user=name), ROTBENCH)
    assert found == CaseScore(True, True, True, "correct")


def test_rotbench_understands_finish_under_its_clean_name() -> None:
    noised = case((Call("done", {"answer": "42"}),), finish="done")
    assert score_prediction("finish(answer='x')", noised).ts is False
    assert score_prediction("finish(answer='x')", noised, ROTBENCH).cf


@pytest.mark.parametrize(("level", "cases"), [("clean", 105), ("slight", 210)])
def test_rotbench_ceiling(shared_data: Path, level: str, cases: int) -> None:
    """In 8 of 105 questions every gold call is without arguments; the script of its authors scores them 0."""
    path = shared_data / "eval" / f"rotbench_{level}.jsonl"
    rows = [Case.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    write = PaperRenderer().answer
    summary = summarise(score_prediction(write(row.gold[0]), row, ROTBENCH) for row in rows)
    assert summary.cases == cases
    assert [round(share, 2) for share in (summary.ts, summary.pi, summary.cf)] == [92.38, 92.38, 92.38]
    assert summary.errors == {"correct": cases * 97 // 105, "no_arguments": cases * 8 // 105}


def test_summary_holds_the_interval_of_each_share() -> None:
    levels = [CaseScore(level > 0, level > 1, level > 2, "x") for level in (0, 1, 1, 2, 2, 2, 3, 3, 3, 3)]
    random.Random(0).shuffle(levels)
    summary = summarise([*levels, CaseScore(False, False, False, NO_GOLD)])
    assert summary.ts_interval == bootstrap_interval(9, 10)
    assert summary.pi_interval == bootstrap_interval(7, 10)
    assert summary.cf_interval == bootstrap_interval(4, 10) == (10.0, 70.0)


@pytest.mark.fuzz
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(["get-user(", "id=", "500", "'", ")", "\n", "[", ","])).map("".join))
)
def test_never_raises_and_levels_build_on_each_other(prediction: str) -> None:
    for policy in ("any", "all"):
        results = [
            score_prediction(prediction, case((GET,)), Scoring(policy, strict, rotbench))
            for strict in (False, True)
            for rotbench in (False, True)
        ]
        assert all(result.ts >= result.pi >= result.cf for result in results)
        assert all(result.cf == (result.error == "correct") for result in results)
        lenient, *others = results
        assert all((one.ts, one.pi, one.cf) <= (lenient.ts, lenient.pi, lenient.cf) for one in others)


def as_json(calls: Sequence[Call]) -> str:
    return json.dumps([{"name": call.name, "arguments": dict(call.arguments)} for call in calls])


@pytest.mark.parametrize(
    "write", [PaperRenderer().answer, ReleasedRenderer().answer, as_json], ids=["paper", "released", "json"]
)
def test_gold_calls_score_100(shared_data: Path, write: Callable[[Sequence[Call]], str]) -> None:
    for path in sorted((shared_data / "eval").glob("*.jsonl")):
        cases = [Case.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        pairs = [(write(alternative), example) for example in cases for alternative in example.gold]
        for policy in ("any", "all"):
            for strict in (False, True):
                summary = summarise(score_prediction(answer, row, Scoring(policy, strict)) for answer, row in pairs)
                assert summary.cases == len(pairs)
                if pairs:
                    assert (summary.ts, summary.pi, summary.cf) == (100.0, 100.0, 100.0), path.name


def test_a_call_with_words_after_it_is_no_answer_in_text() -> None:
    greeting = Case("1", (Tool("f"),), (Message("user", "hi"),), gold=((),))
    assert score_prediction("f()\nthat is it", greeting) == CaseScore(False, False, False, "wrong_tool")


@pytest.mark.parametrize("policy", ["any", "all"])
@pytest.mark.parametrize(
    ("prediction", "right", "error"),
    [
        ("It is sunny.", True, "correct"),
        ("As print(x) shows, it is.", True, "correct"),
        ("f()", False, "wrong_tool"),
        ("", False, "parse_failure"),
    ],
)
def test_where_no_call_is_needed_text_is_right(policy: Policy, prediction: str, right: bool, error: str) -> None:
    greeting = Case("1", (Tool("f"),), (Message("user", "hi"),), gold=((),))
    assert score_prediction(prediction, greeting, Scoring(policy)) == CaseScore(right, right, right, error)
