"""Formats by name, by their first row, from outside the package, and rows that somebody has damaged."""

from __future__ import annotations

import copy
import doctest
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.thoroughness import examples
from tests.tooluse.readers.examples import EXAMPLES
from tests.tooluse.readers.helpers import document, lines
from tl_jax.cli import main
from tl_jax.config import DataConfig
from tl_jax.tooluse import readers
from tl_jax.tooluse.mae.apply import FAILED_CALLS
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import (
    FORMATS,
    Format,
    Place,
    canonical,
    detect_format,
    has,
    holds_cases,
    is_companion,
    openai,
    read_cases,
    read_trajectories,
    tl,
)
from tl_jax.tooluse.readers import format as format_module
from tl_jax.tooluse.schema import Call, Case, DataError, Trajectory, decision_points

ROWS = [
    pytest.param(name, row, id=f"{name}-{number}") for name in EXAMPLES for number, row in enumerate(EXAMPLES[name])
]
MESSAGES = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_format_is_recognised_and_read(tmp_path: Path, name: str, row: Any) -> None:
    rows, listed_rows = lines(tmp_path / "clean.jsonl", row), document(tmp_path / "clean.json", [row])
    for path in (rows, listed_rows, document(tmp_path / "clean_one.json", row)):
        assert detect_format(path) == name
        assert holds_cases(path) == (FORMATS[name].holds == "cases")
        if FORMATS[name].trajectories:
            trajectories = list(read_trajectories(path))
            assert trajectories == list(read_trajectories(path, name))
            assert all(Trajectory.from_json(json.loads(json.dumps(item.to_json()))) == item for item in trajectories)
        notes = Notes()
        cases = list(read_cases(path, notes=notes))
        assert cases or notes.remarks[FAILED_CALLS]
        assert cases == list(read_cases(path, name))
        assert all(Case.from_json(json.loads(json.dumps(item.to_json()))) == item for item in cases)


def test_every_file_that_is_a_format_stands_in_the_table() -> None:
    files = Path(readers.__file__).parent.glob("*.py")
    formats = {file.stem for file in files if "\nFORMAT = Format(\n" in file.read_text(encoding="utf-8")}
    assert formats == {name.replace("-", "_") for name in FORMATS}


def test_the_example() -> None:
    assert doctest.testmod(format_module).failed == 0


def test_a_format_reads_something() -> None:
    with pytest.raises(ValueError, match="the format 'empty' reads neither trajectories nor cases"):
        Format(name="empty", description="", recognises=has())


def test_cases_are_no_trajectories_but_trajectories_are_cases(tmp_path: Path) -> None:
    path = lines(tmp_path / "clean.jsonl", EXAMPLES["rotbench"][0])
    with pytest.raises(DataError, match=r"clean\.jsonl: rotbench files hold evaluation cases"):
        read_trajectories(path)
    path = lines(tmp_path / "history.jsonl", EXAMPLES["sharegpt"][0])
    assert list(read_cases(path)) == [case for item in read_trajectories(path) for case in decision_points(item)]
    path = lines(tmp_path / "both.jsonl", EXAMPLES["xlam"][0])
    assert next(read_cases(path)).gold == (next(read_trajectories(path)).messages[1].tool_calls,)
    path = lines(tmp_path / "gold.jsonl", next(read_cases(path)).to_json())
    assert holds_cases(path)
    assert not holds_cases(path, "openai")
    with pytest.raises(ValueError, match="unknown format 'csv'; known: auto, canonical"):
        holds_cases(path, "csv")
    with pytest.raises(ValueError, match="unknown format 'sharegtp'; did you mean 'sharegpt'"):
        read_cases(path, "sharegtp")


TOOL = {"type": "function", "function": {"name": "f"}}
OPENAI_CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
TL_ROW = {"id": "a", "conversations": [{"role": "system", "content": "[]"}, {"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "a", "messages": MESSAGES}, "canonical"),
        ({"id": "a", "messages": MESSAGES, "gold": [], "tools": [TOOL]}, "canonical"),
        ({"messages": MESSAGES}, "openai"),
        ({"id": "a", "messages": [OPENAI_CALL]}, "openai"),
        ({"id": "a", "messages": MESSAGES, "tools": [TOOL]}, "openai"),
        ({"id": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "openai"),
        (TL_ROW, "tl"),
    ],
)
def test_formats_that_are_much_alike(tmp_path: Path, row: Any, expected: str) -> None:
    path = lines(tmp_path / "data.jsonl", row)
    assert detect_format(path) == expected
    read = read_cases if "gold" in row else read_trajectories
    assert len(list(read(path))) == 1


@pytest.mark.parametrize(
    "name", [name for name, (row, *_) in EXAMPLES.items() if not {"messages", "conversations"} & row.keys()]
)
def test_our_own_rows_may_have_any_other_field(tmp_path: Path, name: str) -> None:
    row = {**EXAMPLES[name][0], "id": "a", "messages": MESSAGES, "tools": []}
    assert detect_format(lines(tmp_path / "own.jsonl", row)) == "canonical"


def test_files_that_are_nothing_we_know(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with pytest.raises(DataError, match=r"data\.jsonl: holds no rows"):
        read_trajectories(lines(path))
    for write in (lines, document):
        with pytest.raises(DataError, match=r'data\.jsonl(:1)?: row: has neither "messages" nor "conversations"'):
            read_trajectories(write(path, {"text": "x"}))
    with pytest.raises(DataError, match=r"data\.jsonl:1: row: must be a JSON object"):
        read_trajectories(lines(path, 3))
    with pytest.raises(DataError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        read_trajectories(tmp_path / "nowhere.jsonl")
    with pytest.raises(ValueError, match="unknown format 'csv'; known: auto, canonical"):
        read_trajectories(tmp_path, "csv")


def test_files_that_readers_look_for_beside_others() -> None:
    names = ("tools.json", "airline.tools.json", "possible_answer/q.json", "possible_answer_q.json", "q.json")
    assert [is_companion(Path(name)) for name in names] == [True, True, True, True, False]


ACME = {
    "ticket": "u1",
    "tools": json.dumps([{"type": "function", "function": {"name": "f"}}]),
    "messages": json.dumps(
        [
            {"role": "user", "content": "Call f."},
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        ]
    ),
}


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format that docs/formats.md adds as an example; its rows have messages like our own."""
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setattr(FORMATS, "_records", dict(FORMATS))
    exec(code, {})


@pytest.mark.usefixtures("acme")
def test_a_format_from_outside_is_recognised_and_read(tmp_path: Path) -> None:
    listed_rows = {key: json.loads(ACME[key]) for key in ("messages", "tools")}
    for row in (ACME, {**ACME, **listed_rows}):
        path = lines(tmp_path / "acme.jsonl", row)
        assert detect_format(path) == "acme"
        assert not holds_cases(path)
        (trajectory,) = read_trajectories(path)
        assert (trajectory.id, trajectory.messages[1].tool_calls) == ("u1", (Call("f", {"a": 1}),))
        assert [case.id for case in read_cases(path)] == ["u1#1"]
    path = lines(tmp_path / "acme.jsonl", {**ACME, "messages": "{}"})
    with pytest.raises(DataError, match=r"acme\.jsonl:1: messages: must be a list as JSON text, not dict"):
        list(read_trajectories(path))


@pytest.mark.usefixtures("acme")
def test_a_format_from_outside_is_known_to_the_configuration_the_commands_and_the_documents(tmp_path: Path) -> None:
    assert DataConfig(path=Path("x"), format="acme").format == "acme"
    source, out = lines(tmp_path / "acme.jsonl", ACME), tmp_path / "out.jsonl"
    for command in (["mae"], ["inspect"], ["analyze"], ["data", "convert"]):
        help_text = CliRunner().invoke(main, [*command, "--help"]).output
        assert "acme" in "".join(help_text.split())
    convert = ["data", "convert", "--in", str(source), "--format", "acme", "--out", str(out)]
    result = CliRunner().invoke(main, convert)
    assert result.exit_code == 0, result.output
    assert "acme.jsonl (acme): 1 trajectories read, 1 written" in result.output
    assert FORMATS.table().splitlines()[-1] == (
        "| [`acme`](https://acme.example/records) | trajectories |  "
        "| Acme's records: `messages` and `tools` as JSON text |"
    )


def test_a_format_that_was_not_added_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="format"):
        DataConfig(path=Path("x"), format="acme")
    source = lines(tmp_path / "acme.jsonl", ACME)
    command = ["data", "convert", "--in", str(source), "--format", "acme", "--out", str(tmp_path / "out.jsonl")]
    assert "'acme' is not one of 'auto', 'canonical'" in CliRunner().invoke(main, command).output


values = st.sampled_from(
    [None, True, 0, -1.5, "", "x", "{", "[1]", [], {}, [[]], [None], [{}], {"type": 3}, {"name": "x"}]
)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [found for key, item in inner for found in _places(item, (*place, key))]


@pytest.mark.fuzz
@pytest.mark.parametrize(("name", "row"), ROWS)
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_rows_are_read_or_refused(tmp_path: Path, name: str, row: Any, data: st.DataObject) -> None:
    damaged = copy.deepcopy(row)
    *way, last = data.draw(st.sampled_from(_places(row)))
    target = damaged
    for key in way:
        target = target[key]
    if isinstance(target, dict) and data.draw(st.booleans()):
        del target[last]
    else:
        target[last] = data.draw(values)
    path = lines(tmp_path / "clean.jsonl", damaged)
    errors: list[DataError] = []
    for read in (FORMATS[name].trajectories, FORMATS[name].cases):
        if read:
            assert all(isinstance(item, (Trajectory, Case)) for item in read(path, errors.append))
    assert all("clean.jsonl" in str(error) and error.field for error in errors)
    with suppress(DataError):
        detect_format(path)


names = [
    *("id", "messages", "conversations", "role", "content", "tool_calls", "tool_call_id", "function", "name", "weight"),
    *("arguments", "tools", "parameters", "properties", "required", "gold", "gold_kind", "meta", "wild"),
]
words = st.sampled_from(["user", "assistant", "tool", "function", "system", "[]", "{}", "f\n{}", "x", "sequence"])
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(names), inner, max_size=5)),
    max_leaves=25,
)


@pytest.mark.fuzz
@given(st.dictionaries(st.sampled_from(names), anything, max_size=8))
def test_foreign_rows_are_read_or_refused(row: Any) -> None:
    for convert in (canonical.trajectories, canonical.cases, tl.trajectories, openai.trajectories):
        with suppress(DataError):
            assert isinstance(convert(row, Place(Path("x.jsonl"), line=1)), list)


fields_of_all = sorted({key for rows in EXAMPLES.values() for row in rows for key in row})
inner_names = [
    *(
        "role",
        "content",
        "type",
        "from",
        "value",
        "parts",
        "text",
        "tool_calls",
        "requestor",
        "tool_use_id",
        "lc",
        "id",
    ),
    *(
        "functionCall",
        "kwargs",
        "data",
        "ground_truth",
        "arguments",
        "name",
        "call_id",
        "weight",
        "functionDeclarations",
    ),
]
inner_words = st.sampled_from(
    [
        *("user", "assistant", "tool", "system", "model", "human", "gpt", "tool_call", "function_call", "text"),
        *("[f(a=1)]", "<tool_call>{}</tool_call>", "<tools>[{}]</tools>", '[{"name": "f"}]', "<think>x</think>", "{}"),
    ]
)
deep = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), inner_words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(inner_names), inner, max_size=5)
    ),
    max_leaves=25,
)


@pytest.mark.fuzz
@pytest.mark.long
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(fields_of_all), deep, max_size=5))
def test_rows_of_any_shape_are_read_or_refused_by_every_format(tmp_path: Path, row: Any) -> None:
    path = lines(tmp_path / "clean.jsonl", row)
    for format in FORMATS.values():
        assert format.recognises(row) in (True, False)
        for read in (format.trajectories, format.cases):
            if read:
                with suppress(DataError):
                    assert all(isinstance(item, (Trajectory, Case)) for item in read(path, None))


BY_ROLE = {"messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "Done."}]}
BY_FROM = {"conversations": [{"from": "human", "value": "Go."}, {"from": "gpt", "value": "Done."}]}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([BY_ROLE, BY_FROM], ":1: messages: holds messages as rows of another format"),
        ([BY_FROM, BY_ROLE], ":2: messages: holds messages as rows of another format"),
        ([BY_FROM | BY_ROLE], ":1: messages: holds messages as rows of another format"),
        ([{"messages": {"role": "user", "content": "Go."}}], ":1: row: 'messages' is no list of messages"),
        ([{"messages": "Go."}], ":1: row: 'messages' is no list of messages"),
    ],
)
def test_what_is_wrong_with_messages_is_told(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl{problem}"):
        list(read_trajectories(lines(tmp_path / "data.jsonl", *rows)))


def test_lists_of_messages_are_no_rows(tmp_path: Path) -> None:
    told = r"data\.jsonl:1: a row is an object, and no list; a list of messages is a row as"
    with pytest.raises(DataError, match=told):
        list(read_trajectories(lines(tmp_path / "data.jsonl", BY_ROLE["messages"], BY_ROLE["messages"])))


@pytest.mark.parametrize(
    "row",
    [{"messages": str(BY_ROLE["messages"])}, {"messages": BY_FROM["conversations"]}, BY_FROM, BY_ROLE],
)
def test_messages_as_python_writes_them_and_by_from(tmp_path: Path, row: Any) -> None:
    (found,) = read_trajectories(lines(tmp_path / "data.jsonl", row))
    assert [(message.role, message.content) for message in found.messages] == [("user", "Go."), ("assistant", "Done.")]
