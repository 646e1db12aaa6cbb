"""Lines and lists, bad bytes, detection, predictions."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.tooluse.readers import (
    canonical,
    detect_format,
    openai,
    read_cases,
    read_predictions,
    read_trajectories,
    tl,
)
from tl_jax.tooluse.readers.rows import Place
from tl_jax.tooluse.schema import DataError

ROW = {"id": "a", "messages": [{"role": "user", "content": "é\u2028x"}]}
OPENAI_CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
TL_ROW = {"id": "a", "conversations": [{"role": "system", "content": "[]"}, {"role": "user", "content": "x"}]}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    return path


def rows(*values: Any, end: str = "\n") -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + end for value in values).encode("utf-8")


@pytest.mark.parametrize(
    "content",
    [
        rows(ROW, ROW),
        rows(ROW, ROW, end="\r\n"),
        rows(ROW, ROW).rstrip(),
        b"\xef\xbb\xbf" + rows(ROW, ROW),
        b"\n  \r\n" + rows(ROW) + b"\n\n" + rows(ROW),
        json.dumps([ROW, ROW]).encode(),
        b"\xef\xbb\xbf\r\n " + json.dumps([ROW, ROW], indent=2).encode(),
    ],
    ids=["jsonl", "crlf", "no last newline", "bom", "blank lines", "list", "pretty list with bom"],
)
def test_lines_and_lists(tmp_path: Path, content: bytes) -> None:
    found = list(read_trajectories(write(tmp_path, content)))
    assert [(item.id, item.messages[0].content) for item in found] == [("a", "é\u2028x")] * 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (rows(ROW) + b"{", r"data\.jsonl:2: is not JSON: Expecting .* one whole JSON object"),
        (rows(ROW) + b'{"id": "\xff"}', r"data\.jsonl:2: is not UTF-8"),
        (rows(ROW) + b'{"id": NaN}', r"data\.jsonl:2: is not JSON: NaN"),
        (rows(ROW) + rb'{"id": "\ud800"}', r"data\.jsonl:2: holds half of a surrogate pair"),
        (rows(ROW) + b"[" * 100_000, r"data\.jsonl:2: is not JSON"),
        (rows(ROW) + b"[1]", r"data\.jsonl:2: row: must be a JSON object, not list"),
        (rows(ROW) + b'{"id": "b", "messages": []}', r"data\.jsonl:2: messages: must be a non-empty list"),
        (json.dumps([ROW, {"id": "b"}]).encode(), r"data\.jsonl: \[1\]\.messages: must be a non-empty list"),
        (json.dumps([ROW, 3]).encode(), r"data\.jsonl: \[1\]\.row: must be a JSON object, not int"),
        (b"\n[\n" + rows(ROW) + b",\n{]", r"data\.jsonl:5: is not JSON"),
    ],
)
def test_bad_rows_are_located(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        list(read_trajectories(write(tmp_path, content), "canonical"))


def test_skipping_reports_every_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path, rows(ROW) + b"{\n" + rows({"id": "b"}, ROW))
    errors: list[DataError] = []
    assert len(list(read_trajectories(path, "auto", "skip", errors.append))) == 2
    assert [error.line for error in errors] == [2, 3]
    assert len(list(read_cases(path, "auto", "skip", errors.append))) == 0
    assert len(errors) == 4
    with pytest.raises(ValueError, match="report"):
        read_trajectories(path, "canonical", "skip")


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    found = read_trajectories(write(tmp_path, rows(ROW) + b"broken"))
    assert next(found).id == "a"
    with pytest.raises(DataError, match=":2: "):
        next(found)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW, "canonical"),
        ({**ROW, "gold": [], "tools": [{"type": "function", "function": {"name": "f"}}]}, "canonical"),
        ({"messages": ROW["messages"]}, "openai"),
        ({**ROW, "messages": [OPENAI_CALL]}, "openai"),
        ({**ROW, "tools": [{"type": "function", "function": {"name": "f"}}]}, "openai"),
        ({**ROW, "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "openai"),
        (TL_ROW, "tl"),
    ],
)
def test_detection(tmp_path: Path, row: Any, expected: str) -> None:
    path = write(tmp_path, rows(row))
    assert detect_format(path) == expected
    assert len(list(read_trajectories(path))) == 1


def test_files_that_are_nothing_we_know(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl: holds no rows"):
        read_trajectories(write(tmp_path, b"\n"))
    with pytest.raises(DataError, match=r'data\.jsonl:1: row: has neither "messages" nor "conversations"'):
        read_trajectories(write(tmp_path, rows({"text": "x"})))
    with pytest.raises(DataError, match=r"data\.jsonl:1: row: must be a JSON object"):
        read_trajectories(write(tmp_path, b"3\n"))
    with pytest.raises(DataError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        read_trajectories(tmp_path / "nowhere.jsonl")
    with pytest.raises(ValueError, match="unknown format 'csv'; known: auto, canonical"):
        read_trajectories(tmp_path, "csv")


def test_predictions(tmp_path: Path) -> None:
    path = write(tmp_path, rows({"id": "a", "prediction": "f()", "case": 1}, {"id": 2, "prediction": ""}))
    assert read_predictions(path) == {"a": "f()", "2": ""}
    with pytest.raises(DataError, match=r":2: id: 'a' appears twice"):
        read_predictions(write(tmp_path, rows({"id": "a", "prediction": "f()"}, {"id": "a", "prediction": "g()"})))
    with pytest.raises(DataError, match=r':1: row: must be an object with "id"'):
        read_predictions(write(tmp_path, rows({"id": "a", "prediction": None})))


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


@given(st.dictionaries(st.sampled_from(names), anything, max_size=8))
def test_foreign_rows_are_read_or_refused(row: Any) -> None:
    for convert in (canonical.trajectories, canonical.cases, tl.trajectories, openai.trajectories):
        with suppress(DataError):
            assert isinstance(convert(row, Place(Path("x.jsonl"), line=1)), list)
