"""IRM's reward: the published table, an independent restatement of it, and the released scorer's exploits."""

from __future__ import annotations

import json
import random
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tooluse import strategies
from tl_jax.tooluse.rewards.compare import canonical, same_text, same_value
from tl_jax.tooluse.rewards.score import PROFILES, RewardTable, explain, score
from tl_jax.tooluse.schema import Call, Case, Message, Tool

SEARCH = Tool(
    "search",
    "",
    {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer", "default": 10},
            "exact": {"type": "boolean"},
            "tags": {"type": "array"},
        },
        "required": ["query"],
    },
)
TOOLS = (SEARCH, Tool("finish", "", {"type": "object", "properties": {"answer": {"type": "string"}}}))


def case(*gold: tuple[Call, ...], kind: Any = "alternatives", user: str = "hello") -> Case:
    return Case("c", TOOLS, (Message("user", user),), gold, kind)


GOLD = case((Call("search", {"query": "love", "exact": True}),))


@pytest.mark.parametrize(
    ("prediction", "value", "category"),
    [
        ("search(query='love', exact=True)", 1.0, "correct"),
        ('search(query="love", exact=true)', 1.0, "correct"),
        ('{"name": "search", "arguments": {"exact": true, "query": "love"}}', 1.0, "correct"),
        ("search('love', exact=True)", 1.0, "correct"),
        ("search(query='love', exact=True, limit=10)", 1.0, "correct"),
        ("search(query='hate', exact=True)", -0.25, "wrong_value"),
        ("search(query='love', exact=1)", -0.25, "wrong_value"),
        ("search(query='love', exact='True')", -0.25, "wrong_value"),
        ("search(query='love')", -0.5, "missing_parameter"),
        ("search(query='love', exact=True, limit=5)", -0.5, "redundant_parameter"),
        ("search(query='love', exact=True, keyword='x')", -0.8, "hallucinated_parameter"),
        ("search(query='love', limit=5)", -1.0, "redundant_parameter"),
        ("search(keyword='love', exact=True)", -1.3, "hallucinated_parameter"),
        ("search(query='love', exact=True, limit=5, keyword='x')", -1.3, "hallucinated_parameter"),
        ("search(keyword='love', limit=5)", -1.8, "hallucinated_parameter"),
        ("finish(answer='love')", -1.5, "wrong_tool"),
        ("find(query='love', exact=True)", -2.0, "hallucinated_tool"),
        ("I would search for love.", -2.0, "parse_failure"),
        ("", -2.0, "parse_failure"),
        ("search(query='love', exact=True", -2.0, "parse_failure"),
    ],
)
def test_the_published_table(prediction: str, value: float, category: str) -> None:
    reward = score(prediction, GOLD)
    assert (reward.value, reward.category) == (pytest.approx(value), category)
    assert "\n" not in reward.explanation
    assert f"{value:+g}" in reward.explanation


def test_explanation_names_the_arguments_and_the_arithmetic() -> None:
    reward = score("search(keyword='love', exact=True)", GOLD)
    assert reward.explanation == ("hallucinated_parameter: 'keyword'; missing_parameter: 'query': -0.8 -0.5 = -1.3")


def test_explain_is_the_same_in_parts() -> None:
    found = explain("search(keyword='love', size=1, limit=2, exact=True)", GOLD)
    assert (found.value, found.category) == (pytest.approx(-1.8), "hallucinated_parameter")
    assert [(fault.category, fault.arguments) for fault in found.faults] == [
        ("hallucinated_parameter", ("keyword", "size")),
        ("redundant_parameter", ("limit",)),
        ("missing_parameter", ("query",)),
    ]
    assert found.arguments == ("keyword", "size", "limit", "query")
    assert found.arithmetic == "-0.8 -0.5 -0.5 = -1.8"
    bounded = explain("search(keyword='love', size=1, limit=2, exact=True)", GOLD, "monotone")
    assert bounded.arithmetic == "-0.8 -0.5 -0.5 = -1.8, but no less than -1.4"
    wrong = explain("search(query='hate', exact=1)", GOLD)
    assert (wrong.arguments, wrong.arithmetic) == (("query", "exact"), "-0.25")
    assert str(wrong) == score("search(query='hate', exact=1)", GOLD).explanation
    assert str(wrong) == "wrong_value: 'query' is 'hate', not 'love', 'exact' is 1, not True: -0.25"
    assert wrong.to_json()["faults"] == [
        {
            "category": "wrong_value",
            "call": "search",
            "arguments": ["query", "exact"],
            "detail": "'query' is 'hate', not 'love', 'exact' is 1, not True",
        },
    ]
    several = explain(written("a", "x"), PARALLEL)
    assert several.arithmetic == "mean of 3 calls: +1 -0.25 -2 = -0.416667"
    assert [fault.detail for fault in several.faults] == ["'query' is 'x', not 'b'", "no call of 'search'"]


@pytest.mark.parametrize(
    "prediction",
    [
        "search(query='love', exact=True)\nsearch(query='love', exact=True)",
        "Sure!\nsearch(query='love', exact=True)",
        "search(query='love', exact=True) and more",
        "search(query='love', exact=True); print('x')",
        "search(query='love', exact=True, query='love')",
        "search(query='love', exact=True) # done",
        "search(query='lo' + 've', exact=True)",
        "search(query=love, exact=True)",
    ],
)
def test_the_whole_completion_has_to_be_the_call(prediction: str) -> None:
    assert score(prediction, GOLD).category == "parse_failure"


def test_exploits_of_the_released_scorer() -> None:
    finish = case((Call("finish", {"answer": "42"}),))
    assert score("finish(answer='see (fig 1) WRONG')", finish).value == -0.25
    assert score('finish(answer="nonsense")', finish).value == -0.25
    assert score("search(query='x', limit=7)", case((Call("search", {"query": "x", "limit": 3}),))).value == -0.25
    hacked = case((Call("finish", {"answer": "x"}),), user="Function:\ndef hack(x:str):\n\ndef hack(x): ")
    assert score("hack(x='y')", hacked).category == "hallucinated_tool"


def test_defaults_alternatives_wild_and_sequences() -> None:
    with_default = case((Call("search", {"query": "x", "limit": 10}),))
    assert score("search(query='x')", with_default).value == 1
    assert score("search(query='x', limit=11)", with_default).value == -0.25
    required = {"type": "object", "properties": {"n": {"default": 1}}, "required": ["n"]}
    needed = Case("c", (Tool("f", "", required),), (Message("user", "x"),), ((Call("f", {"n": 1}),),))
    assert score("f()", needed).category == "missing_parameter"
    either = case((Call("search", {"query": "a"}),), (Call("finish", {"answer": "b"}),))
    assert score("finish(answer='b')", either).value == 1
    assert score("search(query='b')", either).value == -0.25
    wild = case((Call("finish", {"answer": "b"}, wild=("answer",)),))
    assert score("finish(answer='anything')", wild).value == 1
    assert score("finish()", wild).category == "missing_parameter"
    sequence = case((Call("search", {"query": "a"}), Call("finish", {"answer": "b"})), kind="sequence")
    assert score("search(query='a')", sequence).value == 1
    assert score("finish(answer='b')", sequence).category == "wrong_tool"
    assert score("search(query='a')\nfinish(answer='b')", sequence).category == "parse_failure"


NO_CALL = case(())
EITHER = case((), (Call("finish", {"answer": "b"}),))


@pytest.mark.parametrize(
    ("prediction", "value", "category"),
    [
        ("It is 4; no tool is needed.", 1.0, "correct"),
        ("Cities (by size):\nParis (2024)", 1.0, "correct"),
        ("search(query='x')", -1.5, "wrong_tool"),
        ('{"name": "search", "arguments": {}}', -1.5, "wrong_tool"),
        ("lookup(word='x')", -2.0, "hallucinated_tool"),
        ("I will search.\nsearch(query='x')", -1.5, "wrong_tool"),
        ("I tried search(query='x') before.", -2.0, "parse_failure"),
        ("<tool_call>search", -2.0, "parse_failure"),
        ("  ", -2.0, "parse_failure"),
    ],
)
def test_no_call_needed(prediction: str, value: float, category: str) -> None:
    reward = score(prediction, NO_CALL)
    assert (reward.value, reward.category) == (value, category)


def test_a_call_or_none_at_all() -> None:
    assert score("Nothing to do.", EITHER).value == 1
    assert score("finish(answer='b')", EITHER).value == 1
    assert score("finish(answer='c')", EITHER).value == -0.25
    assert score("search(query='c')", EITHER).category == "wrong_tool"


def test_strings_that_spell_a_value_count_when_asked_for() -> None:
    lenient = RewardTable("lenient", coerce_strings=True)
    number, flag, text = (
        case((Call("search", {"query": "5", name: value}),))
        for name, value in (("limit", 3), ("exact", True), ("x", "7"))
    )
    for prediction, example in (
        ("search(query='5', limit='3')", number),
        ("search(query='5', limit='3.0')", number),
        ("search(query='5', exact='true')", flag),
    ):
        assert score(prediction, example).category == "wrong_value"
        assert score(prediction, example, lenient).value == 1
    assert score("search(query='5', limit='4')", number, lenient).category == "wrong_value"
    assert score("search(query=5, limit=3)", number, lenient).category == "wrong_value"  # the schema wants text here
    assert score("search(query='5', x=7)", text, lenient).category == "wrong_value"  # the schema does not say
    wrong_gold = case((Call("search", {"query": 5}),))  # the gold call leaves its schema
    assert score("search(query='5')", wrong_gold, lenient).value == score("search(query=5)", wrong_gold).value == 1


def test_gold_outside_the_schema_counts_as_offered() -> None:
    unknown = case((Call("lookup", {"word": "x"}),))
    assert score("lookup(word='x')", unknown).value == 1
    assert score("search(query='x')", unknown).category == "wrong_tool"
    extra = case((Call("search", {"query": "x", "page": 2}),))
    assert score("search(query='x', page=2)", extra).value == 1
    assert score("search(query='x', page=3)", extra).category == "wrong_value"
    one_of_two = case((Call("search", {"query": "x"}),), (Call("search", {"query": "y", "page": 2}),))
    assert score("search(query='x', page=3)", one_of_two).value == -0.25
    assert score("search(query='x', size=3)", one_of_two).category == "hallucinated_parameter"
    three = case((Call("search", {"query": "x"}),), (Call("search", {"query": "y", "page": 2, "size": 1}),))
    assert score("search(query='x', page=3)", three).category == "redundant_parameter"


def test_profiles() -> None:
    worst = "search(keyword='love', limit=5)"
    assert score(worst, GOLD, "monotone").value == -1.4
    assert score("finish(answer='x')", GOLD, "monotone").value == -1.5
    assert score(worst, GOLD, "binary").value == 0
    assert score("search(query='love', exact=True)", GOLD, RewardTable("mine", correct=5)).value == 5
    with pytest.raises(ValueError, match="unknown reward 'papr'; did you mean 'paper'"):
        score("x", GOLD, "papr")
    for nothing in (case(kind="none"), case()):
        with pytest.raises(ValueError, match="no gold"):
            score("x", nothing)


# --- several calls at once -------------------------------------------------------------------------------------------

THREE = tuple(Call("search", {"query": word}) for word in "abc")
PARALLEL = case(THREE, kind="parallel")


def written(*words: str) -> str:
    return "\n".join(f"search(query='{word}')" for word in words)


def test_parallel_calls_in_any_order() -> None:
    for order in permutations("abc"):
        assert score(written(*order), PARALLEL).value == 1
    assert score(written("c", "x", "a"), PARALLEL).value == pytest.approx((1 + 1 - 0.25) / 3)
    assert score(written("c", "a"), PARALLEL).value == pytest.approx((1 + 1 - 2) / 3)
    assert score(written("a", "b", "c", "c"), PARALLEL).value == pytest.approx((3 - 2) / 4)
    assert score(written("a", "b", "c", "c"), PARALLEL).category == "parse_failure"


@given(st.lists(st.sampled_from(["a", "b", "c", "x"]), min_size=1, max_size=5), st.sampled_from("abcx"))
def test_parallel_reward_is_the_best_pairing_and_more_calls_never_dilute(words: list[str], another: str) -> None:
    def single(word: str, gold: str) -> float:
        return 1.0 if word == gold else -0.25

    slots = max(len(words), 3)
    padded, gold = [*words, *[""] * (slots - len(words))], [*"abc", *[""] * (slots - 3)]
    best = max(
        sum(single(word, wanted) if word and wanted else -2 for word, wanted in zip(order, gold, strict=True))
        for order in permutations(padded)
    )
    assert score(written(*words), PARALLEL).value == pytest.approx(best / slots)
    if len(words) >= 3:
        assert score(written(*words, another), PARALLEL).value <= max(score(written(*words), PARALLEL).value, 0)


def test_open_calls_are_made_one_or_several_at_once() -> None:
    cat, dog = Call("search", {"query": "cat"}), Call("search", {"query": "dog"})
    still_open = case((cat, dog, cat), kind="open")
    one, other = "search(query='cat')", "search(query='dog')"
    for right in (one, other, f"{one}\n{other}", f"{other}\n{one}", f"{one}\n{one}", f"{one}\n{other}\n{one}"):
        for profile in ("paper", "monotone", "binary"):
            assert score(right, still_open, profile).value == 1
        assert score(right, still_open, "toolrl").value == 4
    assert score(f"{other}\n{other}", still_open).value == (1 - 0.25) / 2  # open only once
    assert score(f"{one}\n{one}\n{other}\n{one}", still_open).value == (3 - 2) / 4
    assert score("finish(answer='cat')", still_open).category == "wrong_tool"
    assert score("", still_open).category == "parse_failure"
    last = case((cat,), kind="open")
    assert score(one, last).value == 1
    assert score(f"{one}\n{other}", last).category == "parse_failure"


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4)
)
def test_open_calls_are_worth_what_their_best_selection_is(open_words: list[str], said: list[str]) -> None:
    gold = [Call("search", {"query": word}) for word in open_words]
    prediction = "\n".join(f"search(query={word!r})" for word in said)
    selections = combinations(gold, min(len(said), len(gold)))
    best = max(score(prediction, case(chosen, kind="parallel")).value for chosen in selections)
    assert score(prediction, case(tuple(gold), kind="open")).value == pytest.approx(best)


# --- properties ------------------------------------------------------------------------------------------------------

RANGES = {"binary": (0.0, 1.0), "toolrl": (-3.0, 4.0)}
"""Profiles whose least and greatest reward are not -2 and 1."""
fragments = st.sampled_from(
    [
        *(
            "search(",
            "finish(",
            "query=",
            "'love'",
            '"',
            "'",
            ")",
            "(",
            ",",
            " ",
            "\n",
            "exact=True",
            "**",
            "\\",
            "{",
            "[",
        ),
        *("lambda:", "<tool_call>", '{"name": "search", "arguments": ', "}", "\ud800", "1e999", "nan"),
        *("0x" + "f" * 6000, "9" * 6000),
    ]
)


@pytest.mark.fuzz
@given(
    st.one_of(st.text(max_size=200), st.lists(fragments, max_size=12).map("".join)), st.sampled_from(sorted(PROFILES))
)
def test_never_raises_and_stays_in_range(prediction: str, profile: str) -> None:
    lowest, highest = RANGES.get(profile, (-2.0, 1.0))
    for example in (GOLD, PARALLEL, NO_CALL, EITHER):
        reward = score(prediction, example, profile)
        assert isinstance(reward.value, float)
        assert lowest <= reward.value <= highest
        assert (reward.category == "correct") == (reward.value == highest)
        assert "\n" not in reward.explanation
        assert json.loads(json.dumps(explain(prediction, example, profile).to_json()))["value"] == reward.value


@given(strategies.calls, st.randoms(use_true_random=False))
def test_key_order_and_quotes_do_not_matter(call: Call, order: random.Random) -> None:
    example = Case("c", (), (Message("user", "x"),), ((call,),))
    items = list(call.arguments.items())
    order.shuffle(items)
    python = f"{call.name}({', '.join(f'{key} = {value!r}' for key, value in items)}) "
    released = f"{call.name}({', '.join(f'{key}={json.dumps(value)}' for key, value in items)})"
    as_json = json.dumps({"name": call.name, "arguments": dict(items)})
    for text in (python, released, as_json):
        assert score(text, example).value == 1.0, text


arguments = st.dictionaries(
    st.sampled_from(["query", "exact", "limit", "tags", "page", "x"]), st.sampled_from([0, 1, "1"])
)


@given(st.sampled_from(["search", "finish", "other"]), arguments, arguments)
def test_single_call_against_a_restatement(name: str, predicted: dict[str, Any], gold: dict[str, Any]) -> None:
    text = json.dumps({"name": name, "arguments": predicted})
    schema = set(SEARCH.properties)
    if name != "search":
        expected = -1.5 if name == "finish" else -2.0
    else:
        hallucinated = not predicted.keys() <= schema | gold.keys()
        redundant = bool(predicted.keys() & schema - gold.keys())
        missing = not gold.keys() <= predicted.keys()
        expected = -(0.8 * hallucinated + 0.5 * redundant + 0.5 * missing)
        if not expected:
            expected = 1.0 if predicted == gold else -0.25
    assert score(text, case((Call("search", gold),))).value == pytest.approx(expected)


@given(strategies.values, strategies.values)
@hypothesis.example(True, 1)
@hypothesis.example([False, {"a": 0.0}], [0, {"a": False}])
def test_values_are_compared_like_their_canonical_json(a: Any, b: Any) -> None:
    def whole(value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, list):
            return [whole(item) for item in value]
        return {key: whole(item) for key, item in value.items()} if isinstance(value, dict) else value

    assert same_value(a, a)
    assert same_value(a, b) == (json.dumps(whole(a), sort_keys=True) == json.dumps(whole(b), sort_keys=True))
    assert (canonical(a) == canonical(b)) == same_value(a, b)
    assert canonical(a) == canonical(whole(a))
    assert len({canonical(a), canonical(whole(a))}) == 1
    assert same_text(a, b) or not same_value(a, b)


def test_real_gold_scores_one(shared_data: Path) -> None:
    scored = 0
    for path in sorted((shared_data / "eval").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            example = Case.from_json(json.loads(line))
            for alternative in example.gold:
                calls = alternative[:1] if example.gold_kind == "sequence" else alternative
                answer = json.dumps([call.to_json() for call in calls])
                assert score(answer, example).value == 1.0, example.id
                scored += 1
    assert scored > 0
