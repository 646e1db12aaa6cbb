"""The executable categories of BFCL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import as_canonical, lines, without_source
from tl_jax.tooluse.readers import read_cases
from tl_jax.tooluse.schema import Call, DataError

BFCL = {
    "id": "exec_parallel_3",
    "question": [[{"role": "user", "content": "Mean of 1 and 2, and of 3?"}]],
    "function": [
        {
            "name": "mean",
            "description": "Mean.",
            "parameters": {
                "type": "dict",
                "properties": {"numbers": {"type": "array", "items": {"type": "float"}}, "digits": {"type": "float"}},
                "required": ["numbers"],
            },
        }
    ],
    "ground_truth": ["mean([1, 2])", "mean(numbers=[3.0, -1], digits=1/4)"],
}

EXAMPLES = [BFCL]

QUESTION = {key: value for key, value in BFCL.items() if key != "ground_truth"}
ANSWER = {"id": BFCL["id"], "ground_truth": ["mean(numbers=[1])"], "execution_result_type": ["exact_match"]}


def test_a_whole_row(tmp_path: Path) -> None:
    (case,) = read_cases(lines(tmp_path / "questions.json", BFCL))
    assert (case.id, case.split, case.gold_kind) == ("bfcl/exec_parallel/0003", "exec_parallel", "parallel")
    assert case.messages[0].content == "Mean of 1 and 2, and of 3?"
    assert case.tools[0].parameters == {
        "type": "object",
        "x-type": "dict",
        "properties": {
            "numbers": {"type": "array", "items": {"type": "number", "x-type": "float"}},
            "digits": {"type": "number", "x-type": "float"},
        },
        "required": ["numbers"],
    }
    assert case.gold == ((Call("mean", {"numbers": [1, 2]}), Call("mean", {"numbers": [3.0, -1], "digits": 0.25})),)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("BFCL_v3_exec_simple.json", "possible_answer/BFCL_v3_exec_simple.json"),
        ("question/BFCL_v4_exec_simple.json", "possible_answer/BFCL_v4_exec_simple.json"),
        ("BFCL_v4_exec_simple.json", "possible_answer_BFCL_v4_exec_simple.json"),
    ],
)
def test_answers_in_a_file_beside(tmp_path: Path, question: str, answer: str) -> None:
    for name in (question, answer):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    lines(tmp_path / answer, ANSWER)
    (case,) = read_cases(lines(tmp_path / question, QUESTION))
    assert case.gold == ((Call("mean", {"numbers": [1]}),),)
    assert case.meta["execution_result_type"] == ["exact_match"]


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("mean(numbers=1/6)", {"numbers": 1 / 6}),
        ("mean(numbers=500*500)", {"numbers": 250000}),
        ("mean(numbers=[1 + 2*3, 2 - 0.5])", {"numbers": [7, 1.5]}),
        ("mean((45.76, -4.85), digits='lambda x: 3*x**2')", {"numbers": [45.76, -4.85], "digits": "lambda x: 3*x**2"}),
        ("mean(numbers={'a': True, 'b': None})", {"numbers": {"a": True, "b": None}}),
    ],
)
def test_gold_calls(tmp_path: Path, source: str, arguments: Any) -> None:
    (case,) = read_cases(lines(tmp_path / "q.json", {**BFCL, "ground_truth": [source]}))
    assert case.gold == ((Call("mean", arguments),),)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ground_truth": None}, "id: 'exec_parallel_3' has no ground_truth, neither here nor in"),
        ({"ground_truth": ["mean(numbers=open('x'))"]}, r"ground_truth\[0\]: must be one Python call"),
        ({"ground_truth": ["mean(numbers=1/0)"]}, r"ground_truth\[0\]: must be one Python call"),
        ({"ground_truth": ["mean(numbers=9**9**9)"]}, r"ground_truth\[0\]: must be one Python call"),
        ({"ground_truth": ["mean(numbers=1)", "mean(1); mean(2)"]}, r"ground_truth\[1\]: .* there are several"),
        ({"ground_truth": ["sum([1])"]}, r"ground_truth\[0\]: arguments without a name, and no tool 'sum'"),
        ({"ground_truth": [{"mean": {"numbers": [[1]]}}]}, r"ground_truth\[0\]: must be a Python call as text"),
        ({"question": [[], []]}, "question: must be one turn"),
        ({"function": [{"name": "f"}]}, r"function\[0\]\.parameters: is missing"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=r"q\.json:2: " + problem):
        list(read_cases(lines(tmp_path / "q.json", BFCL, {**BFCL, **change}), "bfcl"))


def test_the_real_file_gives_the_canonical_rows(shared_data: Path) -> None:
    found = list(read_cases(shared_data / "raw" / "bfcl" / "BFCL_v4_exec_simple.json"))
    expected = as_canonical(shared_data / "eval" / "bfcl_exec_simple.jsonl")
    assert list(map(without_source, found)) == list(map(without_source, expected))


def test_parallel_rows_written_in_the_raw_form_come_back(tmp_path: Path, shared_data: Path) -> None:
    def raw(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: raw(item) for key, item in value.items() if key != "x-type"}
            return kept | ({"type": value["x-type"]} if "x-type" in value else {})
        return [raw(item) for item in value] if isinstance(value, list) else value

    expected = as_canonical(shared_data / "eval" / "bfcl_exec_parallel.jsonl")
    rows = [
        {
            "id": case.meta["source_id"],
            "question": [[message.to_json() for message in case.messages]],
            "function": [raw(tool.to_json()) for tool in case.tools],
            "ground_truth": case.meta["gold_source"],
            "execution_result_type": case.meta["execution_result_type"],
        }
        for case in expected
    ]
    found = list(read_cases(lines(tmp_path / "q.json", *rows)))
    assert list(map(without_source, found)) == list(map(without_source, expected))
