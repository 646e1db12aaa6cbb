"""Numbers in JSON that are none, or that nobody can compute with."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import tl_jax
from tests.tooluse.readers.helpers import lines
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.convert import convert
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.readers.typescript import namespace
from tl_jax.tooluse.schema import DataError

PACKAGE = Path(tl_jax.__file__).parent
NOT_NUMBERS = ("1e999", "-1e999", "1" * 400, "-" + "9" * 5000, "NaN", "Infinity", "-Infinity")
NUMBERS = ("1e308", "-0.0", "5e-324", "1e-999", "1" * 308, "-1", "0")


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number: str) -> None:
    value = strict_json.loads(number)
    assert (value, type(value)) == (json.loads(number), type(json.loads(number)))
    assert strict_json.loads(json.dumps(value, allow_nan=False)) == value
    float(value)


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_what_is_no_number(number: str) -> None:
    with pytest.raises(ValueError, match=r"number"):
        strict_json.loads(f"[{number}]")
    with pytest.raises(ValueError, match=r"number"):
        strict_json.DECODER.raw_decode(f'{{"a": {number}}} and more')


def test_depth() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        strict_json.loads("[" * 100_000)


def row(arguments: str) -> dict[str, Any]:
    call = {"function": {"name": "f", "arguments": arguments}}
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": said, "tools": []}


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_no_reader_takes_them(tmp_path: Path, number: str) -> None:
    """In the row, in arguments as JSON text, as Python text: the file and the field are named, nothing is written."""
    plain = json.dumps(row("{}")).replace('"{}"', f'{{"x": {number}}}')
    python = json.dumps(row(f"{{'x': {number}}}"))
    for text in (plain, json.dumps(row(f'{{"x": {number}}}')), python):
        path = tmp_path / "rows.jsonl"
        path.write_text(text + "\n")
        with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
            list(read_trajectories(path, "openai"))
        with pytest.raises(DataError, match=r"rows\.jsonl"):
            convert([path], tmp_path / "out.jsonl", "openai")
        assert not (tmp_path / "out.jsonl").exists()


def test_numbers_of_tables(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for value in (float("inf"), float("nan")):
        rows = [{"id": "a", "messages": [{"role": "user", "content": "?"}], "meta": {"score": value}}]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
        with pytest.raises(DataError, match=rf"meta\.score: is {value}, which JSON cannot say"):
            list(read_trajectories(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("value", ["007", r'"\q"', "1" * 400])
def test_values_in_typescript(value: str) -> None:
    with pytest.raises(DataError, match="expected a text or number as JSON writes it"):
        namespace(f"namespace functions {{ type f = (_: {{ a: {value} }}) => any; }}", "x")


def test_readers_read_no_json_by_themselves() -> None:
    """What reads files of others takes their numbers through `strict_json`."""
    for path in [*PACKAGE.glob("tooluse/readers/*.py"), PACKAGE / "tooluse/text/argument_lines.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "json":
                assert node.attr in ("dumps", "JSONDecodeError"), f"{path}:{node.lineno}"


def test_a_canonical_file_reads_what_it_writes(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", row('{"x": 1e308, "y": -5e-324}'))
    convert([path], tmp_path / "out.jsonl", "openai")
    (again,) = read_trajectories(tmp_path / "out.jsonl")
    assert again.messages[1].tool_calls[0].arguments == {"x": 1e308, "y": -5e-324}


def test_a_field_that_is_given_twice() -> None:
    for text in ('{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'):
        with pytest.raises(ValueError, match="an object gives 'a' twice"):
            strict_json.loads(text)
    assert strict_json.loads('{"a": {"a": 1}}') == {"a": {"a": 1}}


@pytest.mark.parametrize("text", [r'"\ud83d"', r'{"\ude00": 1}', r'[[{"a": ["x", "\ud83d\ud83d"]}]]'])
def test_half_a_character(text: str) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        strict_json.loads(text)
    with pytest.raises(strict_json.HalfCharacter) as caught:
        strict_json.DECODER.raw_decode(f"say {text} twice", 4)
    assert caught.value.end == 4 + len(text)
    assert strict_json.loads(r'"\ud83d\ude00"') == "😀"
    assert strict_json.DECODER.raw_decode(r'say "\ud83d\ude00", and "\ud83d"', 4) == ("😀", 18)
