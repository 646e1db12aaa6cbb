"""BFCL v4: questions with accepted values, without any call, and of several turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.helpers import changed, lines
from tl_jax.tooluse.bfcl.categories import CATEGORIES
from tl_jax.tooluse.bfcl.package import question_files
from tl_jax.tooluse.metrics import Scoring, score_prediction
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import detect_format, read_cases
from tl_jax.tooluse.schema import Call, Case, DataError
from tl_jax.tooluse.text.render import ReleasedRenderer

PAINT = {
    "name": "paint.wall",
    "description": "Paints.",
    "parameters": {
        "type": "dict",
        "properties": {
            "colour": {"type": "string", "description": "Which."},
            "coats": {"type": "integer", "description": "How many.", "default": 1},
            "area": {"type": "float", "description": "In square metres."},
            "sides": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["colour", "area"],
    },
}
SIMPLE = {
    "id": "simple_python_3",
    "question": [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Paint 10 m2 dark red."}]],
    "function": [PAINT],
    "ground_truth": [
        {"paint.wall": {"colour": ["dark red", "dark-red"], "coats": ["", 1], "area": [10.0], "sides": [["left"], ""]}}
    ],
}
PARALLEL = {
    **SIMPLE,
    "id": "live_parallel_0-0-0",
    "ground_truth": [{"paint.wall": {"colour": [name], "area": [1]}} for name in ("red", "blue")],
}
IRRELEVANCE = {**{key: value for key, value in SIMPLE.items() if key != "ground_truth"}, "id": "irrelevance_7"}
EPISODE = {
    "id": "multi_turn_miss_func_0",
    "question": [[{"role": "user", "content": "Paint it."}], [{"role": "user", "content": "And again."}], []],
    "function": [PAINT, {**PAINT, "name": "clean"}],
    "initial_config": {"Painter": {"walls": 2}},
    "involved_classes": [],
    "missed_function": {"2": ["clean"]},
    "path": ["Painter.paint.wall"],
    "ground_truth": [["paint.wall('red', 10.0)"], [], ["clean(colour='red', area=1.5)"]],
}
EXAMPLES = [SIMPLE, PARALLEL, IRRELEVANCE, EPISODE]


def read(path: Path, *rows: Any) -> list[Case]:
    return [*read_cases(lines(path / "questions.json", *rows))]


def test_a_whole_row(tmp_path: Path) -> None:
    (case,) = read(tmp_path, SIMPLE)
    assert (case.id, case.suite, case.split) == ("simple_python_3", "bfcl_v4", "simple_python")
    assert [message.content for message in case.messages] == ["Be brief.", "Paint 10 m2 dark red."]
    assert case.gold == (
        (
            Call(
                "paint.wall",
                {"colour": "dark red", "area": 10.0, "sides": ["left"]},
                accepted={"colour": ["dark-red"], "coats": [1]},
                optional=("sides",),
            ),
        ),
    )
    assert case.gold_kind == "alternatives"
    assert case.meta == {"category": "simple_python", "gold_source": SIMPLE["ground_truth"]}
    assert case.tools[0].properties["area"] == {
        "type": "number",
        "x-type": "float",
        "description": "In square metres.",
    }


def test_parallel_calls(tmp_path: Path) -> None:
    (case,) = read(tmp_path, PARALLEL)
    assert (case.split, case.gold_kind) == ("live_parallel", "parallel")
    assert [call.arguments["colour"] for call in case.gold[0]] == ["red", "blue"]


def test_no_call_or_any_call(tmp_path: Path) -> None:
    none, any_call = read(tmp_path, IRRELEVANCE, {**IRRELEVANCE, "id": "live_relevance_0-0-0"})
    assert none.gold == ((),)
    assert any_call.gold == ((Call("paint.wall", wild=("colour", "coats", "area", "sides")),),)
    for answer in ("paint.wall()", "paint.wall(coats=2, area=1)"):
        assert score_prediction(answer, any_call).cf
        assert not score_prediction(answer, none).ts
    assert score_prediction("I cannot.", none).cf
    assert not score_prediction("I cannot.", any_call).ts


@pytest.mark.parametrize("row", [SIMPLE, PARALLEL])
def test_what_the_renderer_writes_is_right(tmp_path: Path, row: Any) -> None:
    (case,) = read(tmp_path, row)
    assert score_prediction(ReleasedRenderer().answer(case.gold[0]), case, Scoring("all", strict=True)).cf


def test_required_arguments_may_not_be_left_out_whatever_the_answer_says(tmp_path: Path) -> None:
    accepted = {"colour": ["", "red"], "area": [10.0], "coats": ["", 3]}
    (case,) = read(tmp_path, {**SIMPLE, "ground_truth": [{"paint.wall": accepted}]})
    call = Call("paint.wall", {"colour": "", "area": 10.0}, accepted={"colour": ["red"], "coats": [3]})
    assert case.gold == ((call,),)


def test_objects_stand_for_every_choice_of_their_values(tmp_path: Path) -> None:
    schema = {"type": "dict", "properties": {"size": {"type": "dict"}, "sizes": {"type": "array", "items": {}}}}
    size = {"width": [1, 2], "unit": ["cm", ""]}
    row = {**SIMPLE, "function": [{"name": "f", "parameters": schema}]}
    (case,) = read(tmp_path, {**row, "ground_truth": [{"f": {"size": [size], "sizes": [[size, {"a": [3]}]]}}]})
    objects = [{"width": 1, "unit": "cm"}, {"width": 1}, {"width": 2, "unit": "cm"}, {"width": 2}]
    assert [*case.gold[0][0].values("size")] == objects
    assert [*case.gold[0][0].values("sizes")] == [[value, {"a": 3}] for value in objects]
    many = {str(n): [1, 2] for n in range(10)}
    with pytest.raises(DataError, match=r"ground_truth\[0\]\.f\.size: stands for 1024 values, more than 1000"):
        read(tmp_path, {**row, "ground_truth": [{"f": {"size": [many]}}]})


STRING = {"type": "String"}


@pytest.mark.parametrize(
    ("category", "types", "accepted", "arguments", "others"),
    [
        (
            "simple_java",
            {
                "id": {"type": "long"},
                "names": {"type": "Array", "items": {"type": "String"}},
                "on": {"type": "boolean"},
            },
            {"id": [5], "names": [["a", "b"]], "on": [True]},
            {"id": "5L", "names": "new String[]{a, b}", "on": "true"},
            {"names": ['new String[]{"a", "b"}']},
        ),
        (
            "simple_javascript",
            {"options": {"type": "dict", "properties": {"on": {"type": "Boolean"}}}, "name": {"type": "String"}},
            {"options": [{"on": [True, False]}], "name": ["", "x"]},
            {"options": "{on: true}"},
            {"options": ["{on: false}"], "name": ["", "x"]},
        ),
    ],
)
def test_values_of_java_and_javascript_are_text(
    tmp_path: Path, category: str, types: Any, accepted: Any, arguments: Any, others: Any
) -> None:
    tool = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": types, "required": []}}
    row = {**SIMPLE, "id": f"{category}_0", "function": [tool], "ground_truth": [{"f": accepted}]}
    (case,) = read(tmp_path, row)
    assert case.gold == ((Call("f", arguments, accepted=others),),)
    assert {spec["type"] for spec in case.tools[0].properties.values()} == {"string"}
    assert [spec["x-type"] for spec in case.tools[0].properties.values()] == [spec["type"] for spec in types.values()]
    assert score_prediction(ReleasedRenderer().answer(case.gold[0]), case).cf


def test_the_type_is_told(tmp_path: Path) -> None:
    types = {"a": {"type": "ArrayList", "description": "Names.", "items": {"type": "String"}}}
    tool = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": types, "required": []}}
    (case,) = read(tmp_path, {**SIMPLE, "id": "simple_java_0", "function": [tool], "ground_truth": [{"f": {}}]})
    assert case.tools[0].properties["a"] == {
        "type": "string",
        "x-type": "ArrayList",
        "x-items": {"type": "String"},
        "description": "Names. Written as Java code, as a text: a value of type ArrayList of String.",
    }


def test_several_turns(tmp_path: Path) -> None:
    (case,) = read(tmp_path, EPISODE)
    assert [tool.name for tool in case.tools] == ["paint.wall"]
    assert case.gold == ((Call("paint.wall", {"colour": "red", "area": 10.0}),),)
    assert case.gold_kind == "sequence"
    second, third = case.meta["turns"]
    assert second == {"messages": [{"role": "user", "content": "And again."}], "tools": []}
    assert [tool["name"] for tool in third["tools"]] == ["clean"]
    assert '{"name": "clean", "description": "Paints.", "parameters": {' in third["messages"][0]["content"]
    assert case.meta["initial_config"] == {"Painter": {"walls": 2}}
    assert case.meta["gold_source"] == EPISODE["ground_truth"]
    assert case.meta["path"] == ["Painter.paint.wall"]


def test_answers_lie_beside(tmp_path: Path) -> None:
    question = {key: value for key, value in SIMPLE.items() if key != "ground_truth"}
    (tmp_path / "possible_answer").mkdir()
    answer = {"id": SIMPLE["id"], "ground_truth": [{"paint.wall": {"colour": ["red"], "area": [1.0]}}]}
    lines(tmp_path / "possible_answer" / "questions.json", answer)
    (case,) = read(tmp_path, question)
    assert case.gold == ((Call("paint.wall", {"colour": "red", "area": 1.0}),),)
    with pytest.raises(DataError, match=r"questions\.json:1: id: 'simple_python_4' has no answer in the file"):
        read(tmp_path, {**question, "id": "simple_python_4"})
    assert read(tmp_path, IRRELEVANCE)[0].gold == ((),)


def test_without_a_file_of_answers_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    notes = Notes()
    with notes.kept():
        (case,) = read(tmp_path, {key: value for key, value in SIMPLE.items() if key != "ground_truth"})
    assert (case.gold, case.gold_kind) == ((), "none")
    assert "no file of answers" in " ".join(notes.lines())


def test_functions_of_classes_are_described_beside(tmp_path: Path) -> None:
    (tmp_path / "multi_turn_func_doc").mkdir()
    lines(tmp_path / "multi_turn_func_doc" / "math_api.json", {**PAINT, "response": {"type": "dict"}})
    row = {key: value for key, value in EPISODE.items() if key not in ("function", "missed_function")}
    row |= {"question": row["question"][:2], "ground_truth": [["paint.wall('red', 1.0)"], []]}
    notes = Notes()
    with notes.kept():
        (case,) = read(tmp_path, {**row, "involved_classes": ["MathAPI", "Painter"]})
    assert [tool.name for tool in case.tools] == ["paint.wall"]
    (line,) = notes.lines()
    assert line.endswith("the class 'Painter' is none of BFCL's: its functions are not known (1 x)")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (SIMPLE, "bfcl_v4"),
        (IRRELEVANCE, "bfcl_v4"),
        ({**IRRELEVANCE, "id": "q1"}, "bfcl_v4"),
        ({"id": "multi_turn_base_0", "question": [[]], "involved_classes": []}, "bfcl_v4"),
        ({**IRRELEVANCE, "id": "exec_simple_0"}, "bfcl"),
        ({**SIMPLE, "id": "q1", "ground_truth": ["f()"]}, "bfcl"),
    ],
)
def test_which_of_both_formats(tmp_path: Path, row: Any, expected: str) -> None:
    assert detect_format(lines(tmp_path / "q.json", row)) == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**SIMPLE, "id": "memory_0-customer-0", "scenario": "customer"}, "id: is of BFCL's agentic part"),
        (changed(SIMPLE, "question.0", []), "question: has no message in its first turn"),
        (changed(SIMPLE, "question.0", {}), r"question\[0\]: must be a list of messages"),
        (changed(SIMPLE, "function.0", {"name": "f"}), r"function\[0\]\.parameters: is missing"),
        ({**SIMPLE, "functions": []}, "functions: unknown field; did you mean 'function'"),
        (changed(SIMPLE, "ground_truth.0", {"f": {}, "g": {}}), r"ground_truth\[0\]: must be one call"),
        (changed(SIMPLE, "ground_truth.0", {"f": []}), r"ground_truth\[0\]\.f: must be \{argument"),
        (changed(SIMPLE, "ground_truth.0", {"f": {"a": 1}}), r"ground_truth\[0\]\.f\.a: must be a list of accepted"),
        (changed(EPISODE, "ground_truth.0", ["f("]), r"ground_truth\[0\]\[0\]: must be one Python call"),
        (changed(EPISODE, "question.1", []), r"question\[1\]: has no message, and no function comes with it"),
        (changed(EPISODE, "missed_function", {"2": "clean"}), "missed_function: must be {number of a turn: "),
        (changed(EPISODE, "involved_classes", [[]]), r"involved_classes\[0\]: must be the name of a class"),
        (changed(EPISODE, "involved_classes", ["../q"]), r"involved_classes\[0\]: must be the name of a class"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, problem: str) -> None:
    with pytest.raises(DataError, match=r"questions\.json:1: " + problem):
        [*read_cases(lines(tmp_path / "questions.json", row), "bfcl_v4")]


@pytest.mark.parametrize("category", CATEGORIES.values(), ids=lambda category: category.name)
def test_the_whole_data_is_read(category: Any) -> None:
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed")
    (file,), notes = question_files([category]), Notes()
    with notes.kept():
        cases = [*read_cases(file)]
    assert notes.lines() == []
    assert len(cases) == len(file.read_text(encoding="utf-8").splitlines())
    assert all(case.gold_kind != "none" and case.split == category.name for case in cases)
    for case in cases[::20]:
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    wrong = [case.id for case in cases if not score_prediction(ReleasedRenderer().answer(case.gold[0]), case).cf]
    assert wrong == [case.id for case in cases if case.gold == ((),)]  # where no call is right, no call is nothing
    assert category.rule != "no_call" or len(wrong) == len(cases)
