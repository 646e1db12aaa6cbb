"""The rule for calls: by examples, and against BFCL's own checker."""

from __future__ import annotations

import doctest
from collections import Counter
from typing import Any

import pytest

from tests.tooluse.bfcl.checker import MODEL, THROUGH_API, accepts, perturbed, questions
from tl_jax.tooluse.bfcl import check
from tl_jax.tooluse.bfcl.categories import CATEGORIES
from tl_jax.tooluse.bfcl.check import check_calls
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.bfcl.score import fault
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.readers.answers import answer_text
from tl_jax.tooluse.schema import Call, Case, Message, Tool
from tl_jax.tooluse.text.render import ReleasedRenderer

TYPES = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number", "x-type": "float"},
    "on": {"type": "boolean"},
    "words": {"type": "array", "items": {"type": "string"}},
    "points": {"type": "array", "x-type": "tuple", "items": {"type": "number", "x-type": "float"}},
    "size": {"type": "object", "x-type": "dict"},
    "sizes": {"type": "array", "items": {"type": "object", "x-type": "dict"}},
    "anything": {"x-type": "any"},
}
SIZES = {"width": [1, 2], "unit": ["cm", ""]}


@pytest.mark.parametrize(
    ("argument", "accepted", "value", "expected"),
    [
        ("text", ["New York, NY"], "new york NY", "correct"),
        ("text", ["New York, NY"], "New York City", "wrong_value"),
        ("text", ["it's"], 'it"s', "correct"),
        ("text", ["a"], 5, "wrong_type"),
        ("text", ["a", ""], "", "correct"),
        ("text", [5], 5, "correct"),
        ("text", [None, ""], None, "correct"),
        ("count", [5], 5, "correct"),
        ("count", [5], 5.0, "wrong_type"),
        ("count", [1], True, "wrong_type"),
        ("count", ["MAX"], "MAX", "correct"),
        ("count", ["MAX"], "max", "wrong_value"),
        ("count", [""], 5, "wrong_value"),
        ("count", ["", 5], "", "wrong_type"),
        ("ratio", [5.0], 5, "correct"),
        ("ratio", [5.0], "5", "wrong_type"),
        ("on", [True], True, "correct"),
        ("on", [True], 1, "wrong_type"),
        ("words", [["a b", "c"]], ["AB", "c"], "correct"),
        ("words", [["a", "b"]], ["b", "a"], "wrong_value"),
        ("words", [["a", "b"], ["b", "a"]], ["b", "a"], "correct"),
        ("words", [["a"]], [1], "wrong_type"),
        ("words", [["a"], ""], [], "correct"),
        ("points", [[1.0, 2.0]], [1.0, 2.0], "correct"),
        ("points", [[1.0, 2.0]], [1, 2], "wrong_type"),
        ("points", [[1, 2]], [1, 2], "correct"),
        ("size", [SIZES], {"width": 2}, "correct"),
        ("size", [SIZES], {"width": 1, "unit": "CM"}, "correct"),
        ("size", [SIZES], {"unit": "cm"}, "wrong_value"),
        ("size", [SIZES], {"width": 1, "depth": 1}, "wrong_value"),
        ("size", [""], {}, "wrong_value"),
        ("sizes", [[SIZES, SIZES]], [{"width": 1}, {"width": 2}], "correct"),
        ("sizes", [[SIZES, SIZES]], [{"width": 1}], "wrong_value"),
        ("anything", ["a b"], "AB", "correct"),
        ("anything", [7], 7, "correct"),
        ("size", [{"width": 5}], {"width": 5}, "correct"),
        ("words", [5], ["a"], "wrong_value"),
    ],
)
def test_values(argument: str, accepted: list[Any], value: Any, expected: str) -> None:
    tool = Tool("f", parameters={"properties": TYPES})
    assert check_calls([Call("f", {argument: value})], [{"f": {argument: accepted}}], [tool], "python") == expected


TOOLS = (
    Tool("f", parameters={"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]}),
    Tool("g"),
)
F = {"f": {"a": [1], "b": [2, ""]}}


@pytest.mark.parametrize(
    ("calls", "answers", "expected"),
    [
        ([Call("f", {"a": 1})], [F], "correct"),
        ([Call("f", {"a": 1, "b": 2})], [F], "correct"),
        ([Call("f", {"b": 2})], [F], "missing_parameter"),
        ([Call("f", {"a": 1})], [{"f": {"a": [1], "b": [2]}}], "missing_parameter"),
        ([Call("f", {"a": 1, "c": 2})], [F], "unexpected_parameter"),
        ([Call("f", {"a": 1, "c": 2})], [{"f": {"a": [1], "c": [2]}}], "unexpected_parameter"),
        ([Call("g")], [F], "wrong_tool"),
        ([Call("h")], [{"h": {}}], "wrong_tool"),
        ([], [F], "wrong_count"),
        ([Call("f", {"a": 1}), Call("g")], [F], "wrong_count"),
        ([Call("g"), Call("f", {"a": 1})], [F, {"g": {}}], "correct"),
        ([Call("f", {"a": 1}), Call("f", {"a": 1})], [F, {"g": {}}], "no_match"),
        ([Call("f", {"a": 1, "b": 2}), Call("f", {"a": 1})], [F, {"f": {"a": [1], "b": [2]}}], "no_match"),
    ],
)
def test_calls(calls: list[Call], answers: list[Any], expected: str) -> None:
    """The last: each answer takes the first call that fits it, as in BFCL, though another choice fits them all."""
    assert check_calls(calls, answers, TOOLS, "python") == expected


def test_the_examples() -> None:
    assert doctest.testmod(check).failed == 0


@pytest.mark.parametrize("name", [name for name, category in CATEGORIES.items() if category.rule == "calls"])
def test_bfcl_says_the_same(name: str) -> None:
    """Of every tenth question, of all sorts of answers to it; benchmarks/bfcl_parity.py asks about all."""
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    category = CATEGORIES[name]
    cases = [*read_cases(question_files([category])[0])]
    rows, renderer, seen = questions(category), ReleasedRenderer(), Counter[bool]()
    for case in cases[:: 10 if len(cases) < 500 else 40]:
        for done, calls in perturbed(case, seed=1):
            theirs, text = accepts(calls, rows[case.id], category), renderer.answer(calls)
            assert (fault(text, case) == "correct") is theirs, (done, text)
            seen[theirs] += 1
    assert min(seen[True], seen[False]) > 5


@pytest.mark.parametrize("name", ["math.add", "math_add", "math_ad"])
def test_an_api_writes_dots_in_names_as_underscores(name: str) -> None:
    """BFCL's own checker takes a model's name for a tool with ``_``, if the model is called through such an API."""
    pytest.importorskip("bfcl_eval")
    category, answers = CATEGORIES["simple_python"], [{"math.add": {"x": [1]}}]
    parameters = {"properties": {"x": {"type": "integer"}}, "required": ["x"]}
    row = {"function": [{"name": "math.add", "description": "", "parameters": {"type": "dict", **parameters}}]}
    meta = {"category": "simple_python", "gold_source": answers}
    case = Case("simple_python_0", (Tool("math.add", "", parameters),), (Message("user", "?"),), meta=meta)
    call = Call(name, {"x": 1})
    message = answer_text({"role": "assistant", "content": None, "tool_calls": [call.to_json()]})
    models = [MODEL] if name == "math.add" else [THROUGH_API]
    right = any(accepts([call], row | {"ground_truth": answers}, category, model) for model in models)
    assert (fault(message, case) == "correct") is right
    assert fault(str(message), case) == ("correct" if name == "math.add" else "wrong_tool")
