"""Parquet, Arrow, gzip and saved datasets, and the nulls that tables put into rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tooluse.readers.examples import EXAMPLES
from tests.tooluse.readers.helpers import document, lines, tool
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import FORMATS, read_cases, read_trajectories
from tl_jax.tooluse.readers.nulls import DROPPED, DROPPED_OF_A_RESULT, without_padding
from tl_jax.tooluse.schema import Call, DataError, Tool

datasets, pyarrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FIND = tool("find", "city", city="string")
MOVE = tool("move", "x", "note", x="integer", note="string", by="string")
MOVE["parameters"]["properties"]["note"]["type"] = ["string", "null"]
NESTED = tool("nested", where="object", rows="array")
NESTED["parameters"]["properties"]["where"] = {
    "type": "object",
    "properties": {"lat": {"type": "number"}, "name": {"type": ["string", "null"]}},
    "required": ["lat"],
}


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    """A row whose assistant makes one call."""
    function = {"name": name, "arguments": arguments}
    return {
        "tools": [{"type": "function", "function": item} for item in (FIND, MOVE, NESTED)],
        "messages": [
            {"role": "user", "content": "Go."},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
            {"role": "tool", "content": "ok", "tool_call_id": "1"},
        ],
    }


ROWS = [
    calling("find", city="Oslo"),
    calling("move", x=1, note=None),  # the null was meant: required, and may be null
    calling("nested", where={"lat": 1.5, "name": None}, rows=[{"a": 1}, {"b": "x"}]),
]
MEANT = [
    {"city": "Oslo"},
    {"x": 1, "note": None},
    {"where": {"lat": 1.5, "name": None}, "rows": [{"a": 1}, {"b": "x"}]},
]


def table(*rows: Any) -> pyarrow.Table:
    """The rows as every version of `datasets` before 5 holds them, and most tables do: as structs."""
    return pyarrow.Table.from_pylist(list(rows))


def written(tmp_path: Path, kind: str, rows: list[Any]) -> Path:
    """A file or folder of this kind with the rows."""
    path = tmp_path / f"rows.{kind}"
    match kind:
        case "jsonl.gz":
            path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
        case "json.gz":
            path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
        case "parquet":
            parquet.write_table(table(*rows), path)
        case "arrow":
            with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_file(file, table(*rows).schema) as out:
                out.write(table(*rows))
        case "saved":
            datasets.Dataset(table(*rows)).save_to_disk(path)
        case "splits":
            datasets.DatasetDict({"train": datasets.Dataset(table(*rows))}).save_to_disk(path)
        case "to_json":
            datasets.Dataset(table(*rows)).to_json(path)
        case "from_list":  # as the installed version of datasets holds rows that differ
            datasets.Dataset.from_list(rows).save_to_disk(path)
        case "from_list.jsonl":
            datasets.Dataset.from_list(rows).to_json(path)
    return path


KINDS = ("jsonl.gz", "json.gz", "parquet", "arrow", "saved", "splits", "to_json", "from_list", "from_list.jsonl")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_holds_the_same_rows(tmp_path: Path, kind: str) -> None:
    """What the rows say is read; nulls that the table added are gone, and those that were meant are there."""
    found = list(read_trajectories(written(tmp_path, kind, ROWS)))
    assert [item.messages[1].tool_calls[0].arguments for item in found] == MEANT
    assert [item.tools for item in found] == [tuple(map(Tool.from_json, (FIND, MOVE, NESTED)))] * 3
    assert [item.messages[2].call_id for item in found] == ["1"] * 3
    assert [item.meta for item in found] == [{}] * 3


def test_tables_do_pad(tmp_path: Path) -> None:
    """The test above would prove nothing otherwise."""
    (first, *_) = map(json.loads, written(tmp_path, "to_json", ROWS).open(encoding="utf-8"))
    padded = first["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert {"x", "note", "where", "rows"} <= {key for key, value in padded.items() if value is None}


def test_dropped_nulls_are_counted(tmp_path: Path) -> None:
    notes = Notes()
    list(read_trajectories(written(tmp_path, "parquet", ROWS), notes=notes))
    assert notes.remarks[DROPPED] == 4 + 3 + 5  # of the top, and of the rows of a list


def test_arguments_as_text_are_as_they_are_written(tmp_path: Path) -> None:
    row = calling("find")
    row["messages"][1]["tool_calls"][0]["function"]["arguments"] = '{"city": null, "other": null}'
    (found,) = read_trajectories(written(tmp_path, "parquet", [row]))
    assert found.messages[1].tool_calls == (Call("find", {"city": None, "other": None}),)


def test_our_own_rows_keep_every_null(tmp_path: Path) -> None:
    row = {"id": "a", "suite": "s", "tools": [FIND], "messages": [{"role": "user", "content": "Go."}], "meta": {}}
    row["messages"] += [
        {"role": "assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {"q": None}}]}
    ]
    (found,) = read_trajectories(lines(tmp_path / "own.jsonl", row))
    assert found.to_json()["messages"] == row["messages"]


@pytest.mark.parametrize(
    ("tool", "padded", "expected"),
    [
        (FIND, False, {"city": None}),  # required
        (MOVE, False, {"x": None, "note": None}),
        (NESTED, True, {}),
        (None, False, {"city": None, "x": None, "note": None, "by": None}),  # nobody can know
        (None, True, {}),
        ({"name": "any", "parameters": {"type": "object", "properties": {"x": {}}}}, False, {"x": None}),
        ({"name": "any", "parameters": {"type": "object", "properties": {"x": {}}}}, True, {}),
        ({"name": "none", "parameters": {"type": "object", "properties": {}}}, False, {}),
    ],
)
def test_the_schema_decides_about_nulls(tool: Any, padded: bool, expected: dict[str, Any]) -> None:
    nulls = {"city": None, "x": None, "note": None, "by": None}
    assert without_padding(nulls, tool and Tool.from_json(tool), padded) == expected


def test_cases_come_out_of_tables_as_well(tmp_path: Path) -> None:
    gold = [[{"name": "find", "arguments": {"city": "Oslo"}}], [{"name": "move", "arguments": {"x": 1, "note": None}}]]
    rows = [
        {"id": name, "tools": [FIND, MOVE], "messages": [{"role": "user", "content": "?"}], "gold": [calls]}
        for name, calls in zip("ab", gold, strict=True)
    ]
    for kind in ("parquet", "saved", "jsonl.gz"):
        found = list(read_cases(written(tmp_path, kind, rows)))
        assert [[[call.to_json() for call in calls] for calls in case.gold] for case in found] == [[g] for g in gold]


def test_errors_name_the_row(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "foo": None}, {**ROWS[0], "foo": "bar"}]
    for kind in ("parquet", "arrow", "saved", "jsonl.gz"):
        path = written(tmp_path, kind, rows)
        with pytest.raises(DataError, match=rf"{path.name}:2: foo: unknown field"):
            list(read_trajectories(path))
    with pytest.raises(DataError, match=r"rows.json.gz: \[1\]\.foo: unknown field"):
        list(read_trajectories(written(tmp_path, "json.gz", rows)))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder is read if datasets' save_to_disk wrote it"):
        list(read_trajectories(tmp_path))
    for kind in ("parquet", "arrow", "jsonl.gz"):
        path = written(tmp_path, kind, ROWS)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(DataError, match=f"{path.name}"):
            list(read_trajectories(path))
    test_only = tmp_path / "only"
    datasets.DatasetDict({"test": datasets.Dataset(table(*ROWS))}).save_to_disk(test_only)
    with pytest.raises(DataError, match="has no split 'train', only test"):
        list(read_trajectories(test_only))
    assert len(list(read_trajectories(test_only / "test"))) == 3
    parquet.write_table(pyarrow.table({"messages": [b"\xff"]}), tmp_path / "bytes.parquet")
    with pytest.raises(DataError, match=r"messages: is bytes, which JSON cannot say"):
        list(read_trajectories(tmp_path / "bytes.parquet"))


def test_a_compressed_file_is_told_by_its_bytes(tmp_path: Path) -> None:
    packed = written(tmp_path, "jsonl.gz", ROWS)
    assert [item.id for item in read_trajectories(packed)] == ["rows:1", "rows:2", "rows:3"]
    other = tmp_path / "data.jsonl"
    other.write_bytes(packed.read_bytes())
    assert [item.id for item in read_trajectories(other)] == ["data:1", "data:2", "data:3"]
    document(tmp_path / "plain.gz", ROWS[0])
    assert [item.id for item in read_trajectories(tmp_path / "plain.gz")] == ["plain"]


def test_a_value_that_json_cannot_say_is_named_with_its_row(tmp_path: Path) -> None:
    rows = [{"messages": json.dumps(ROWS[0]["messages"]), "image": None}] * 300 + [{"messages": "[]", "image": b"x"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    with pytest.raises(DataError, match=r"data\.parquet:301: image: is bytes, which JSON cannot say"):
        list(read_trajectories(tmp_path / "data.parquet"))


def results(shape: str, said: list[Any]) -> list[dict[str, Any]]:
    """Rows of a format, each with a call that is answered by an object."""
    make: dict[str, Any] = {
        "openai": lambda value: {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "1", "name": "find", "arguments": "{}"}]},
                {"role": "tool", "tool_call_id": "1", "content": value},
            ]
        },
        "gemini": lambda value: {
            "contents": [
                {"role": "model", "parts": [{"functionCall": {"name": "find"}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": value}}]},
            ]
        },
        "responses": lambda value: {
            "input": [
                {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": value},
            ]
        },
    }
    return [make[shape](value) for value in said]


@pytest.mark.parametrize("shape", ["openai", "gemini", "responses"])
def test_nulls_that_a_table_puts_into_results(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(results(shape, [{"rain": 2}, {"error": "gone"}])), path)
    found = [item.messages[1] for item in read_trajectories(path, shape)]
    assert [message.content for message in found] == ['{"rain": 2}', '{"error": "gone"}']
    assert [message.error for message in found] == [False, shape == "gemini"]
    (as_meant,) = read_trajectories(lines(tmp_path / "data.jsonl", *results(shape, [{"rain": None}])), shape)
    assert as_meant.messages[1].content == '{"rain": null}'


@pytest.mark.parametrize("shape", ["openai", "gemini", "responses"])
def test_nulls_that_go_from_results_are_counted(tmp_path: Path, shape: str) -> None:
    notes = Notes()
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(results(shape, [{"rain": 2}, {"sun": 1, "rain": 2}])), path)
    list(read_trajectories(path, shape, notes=notes))
    assert notes.remarks[DROPPED_OF_A_RESULT] == 1


def without_empty(value: Any) -> Any:
    """The value without empty objects, which Parquet cannot hold."""
    if isinstance(value, dict):
        found = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item != {}}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


def with_other_arguments(value: Any) -> Any:
    """The value with an argument in every call that no call here has: a table gives it to all of them."""
    if isinstance(value, dict):
        names = {"arguments", "args", "input", "parameters", "param_dict", "tool_kwargs"} & value.keys()
        other = {
            name: {"unheard_of": "1"} for name in names if isinstance(value[name], dict) and "type" not in value[name]
        }
        return {key: other.get(key) or with_other_arguments(item) for key, item in value.items()}
    return [with_other_arguments(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if format.trajectories])
def test_rows_of_every_format_say_the_same_in_a_table(tmp_path: Path, name: str) -> None:
    for example in EXAMPLES[name]:
        row = without_empty(example)
        try:
            parquet.write_table(table(row, with_other_arguments(row)), tmp_path / "clean.parquet")
        except pyarrow.ArrowInvalid:  # a column of several kinds of values, which no table can have
            continue
        found, *_ = read_trajectories(tmp_path / "clean.parquet", name)
        meant, *_ = read_trajectories(lines(tmp_path / "clean.jsonl", row), name)
        assert (found.messages, found.tools) == (meant.messages, meant.tools)


def asking(shape: str, arguments: Any, default: Any = None) -> dict[str, Any]:
    """A row of a format with a call of ``move``, whose tool has this default."""
    offered = json.loads(json.dumps(MOVE))
    offered["parameters"]["properties"]["x"]["default"] = default
    call = {"name": "move", "arguments": arguments}
    rows: dict[str, Any] = {
        "responses": {"input": [{"type": "function_call", "call_id": "1", **call}], "tools": [offered]},
        "xlam": {"query": "Go.", "answers": [call], "tools": [offered]},
        "swift": {"messages": [{"role": "tool_call", "content": call}], "tools": [offered]},
        "sharegpt": {"conversations": [{"from": "function_call", "value": call}], "tools": [offered]},
        "anthropic": {
            "messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "move", "input": arguments}]}],
            "tools": [{"name": "move", "input_schema": offered["parameters"]}],
        },
        "bedrock": {
            "messages": [{"role": "assistant", "content": [{"toolUse": {"name": "move", "input": arguments}}]}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "move", "inputSchema": {"json": offered["parameters"]}}}]},
        },
        "gemini": {
            "contents": [{"role": "model", "parts": [{"functionCall": {"name": "move", "args": arguments}}]}],
            "tools": [{"functionDeclarations": [offered]}],
        },
    }
    return rows[shape]


@pytest.mark.parametrize("shape", ["responses", "xlam", "swift", "sharegpt", "anthropic", "bedrock", "gemini"])
def test_nulls_of_calls_and_tools_in_every_shape(tmp_path: Path, shape: str) -> None:
    """The null of ``note`` was meant: it is required, and may be null. Other nulls are the table's."""
    rows = [asking(shape, {"x": 1, "note": None}), asking(shape, {"x": 1, "note": "n", "by": "b"}, default=1)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    found, _ = read_trajectories(tmp_path / "data.parquet", shape)
    assert found.messages[-1].tool_calls == (Call("move", {"x": 1, "note": None}),)
    assert "default" not in found.tools[0].properties["x"]


@pytest.mark.parametrize("shape", ["responses", "xlam", "swift", "sharegpt", "anthropic", "bedrock", "gemini"])
def test_nulls_of_calls_that_are_text_were_meant(tmp_path: Path, shape: str) -> None:
    row = asking(shape, json.dumps({"x": None, "by": None}))
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "data.parquet")
    (found,) = read_trajectories(tmp_path / "data.parquet", shape)
    assert found.messages[-1].tool_calls == (Call("move", {"x": None, "by": None}),)


def test_nulls_of_what_tools_return_that_anthropic_runs(tmp_path: Path) -> None:
    found = [{"type": "web_search_result", "title": "Dog"}, {"type": "web_search_result", "title": "Cat", "age": "1"}]
    call = {"type": "server_tool_use", "id": "1", "name": "search", "input": {"q": "dog"}}
    rows = [
        {"messages": [{"role": "assistant", "content": [call, {"type": "search_tool_result", "content": [item]}]}]}
        for item in found
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    first, _ = read_trajectories(tmp_path / "data.parquet", "anthropic")
    assert first.messages[1].content == json.dumps(found[:1])
