"""Lines and lists, bad bytes, places of errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tl_jax.tooluse.readers import read_cases, read_trajectories
from tl_jax.tooluse.schema import DataError

ROW = {"id": "a", "messages": [{"role": "user", "content": "é\u2028x"}]}


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
        (b"\xef\xbb\xbf" + rows(ROW)) * 2 + b"\xef\xbb\xbf\n",
        b"\n  \r\n" + rows(ROW) + b"\n\n" + rows(ROW),
        json.dumps([ROW, ROW]).encode(),
        b"\xef\xbb\xbf\r\n " + json.dumps([ROW, ROW], indent=2).encode(),
    ],
    ids=[
        "jsonl",
        "crlf",
        "no last newline",
        "bom",
        "files with boms in one",
        "blank lines",
        "list",
        "pretty list with bom",
    ],
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
        (rows(ROW) + rb'{"id": "\ud800"}', r"data\.jsonl:2: is not JSON: half of a surrogate pair"),
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


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \n\n"], ids=["plain", "bom", "blank lines"])
def test_one_object_over_many_lines(tmp_path: Path, start: bytes) -> None:
    (found,) = read_trajectories(write(tmp_path, start + json.dumps(ROW, indent=2).encode()))
    assert (found.id, found.messages[0].content) == ("a", "é\u2028x")
    with pytest.raises(DataError, match=r"data\.jsonl: messages: must be a non-empty list"):
        list(read_trajectories(write(tmp_path, start + json.dumps({**ROW, "messages": []}, indent=2).encode())))


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
    ("content", "problem"),
    [
        (b"\x28\xb5\x2f\xfdxx", "is packed by zstd: unpack it first"),
        (b"BZh9xx", "is packed by bzip2"),
        (b"\xfd7zXZ\x00xx", "is packed by xz"),
        (b"PK\x03\x04xx", "is a zip archive"),
        ('{"id": 1}'.encode("utf-16"), "is UTF-16: write it as UTF-8"),
        ('{"id": 1}'.encode("utf-32"), "is UTF-32: write it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is not the data but Git LFS's pointer"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
    ],
)
def test_files_that_are_no_data_yet(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data\.jsonl: {problem}"):
        list(read_trajectories(path))


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"trajectory": [{"role": "user", "content": "Go."}]}, "'trajectory' holds messages: call it 'messages'"),
        ({"data": [{"messages": []}]}, "each item of 'data' has 'messages': write it as a row of its own"),
        ({"body": {"messages": []}, "url": "x"}, "'body' has 'messages': write it as a row of its own"),
        ({"role": "user", "content": "Go."}, "it is one message, and a row is a whole conversation"),
        ({"question": "Go?", "reply": "No."}, "it has question, reply"),
        ({"object": "thread.run.step", "step_details": {}}, "it is of a thread of OpenAI's Assistants: write the"),
    ],
)
def test_a_row_of_no_format_is_told_what_it_has(tmp_path: Path, row: dict[str, Any], hint: str) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl:1: row: has neither .*; {re.escape(hint)}"):
        list(read_trajectories(write(tmp_path, rows(row))))


def test_autogens_messages_are_told_by_their_name(tmp_path: Path) -> None:
    row = {"messages": [{"source": "user", "type": "TextMessage", "content": "Go."}]}
    with pytest.raises(DataError, match=r"data\.jsonl:1: messages\[0\]: is a message of AutoGen's.*with its role"):
        list(read_trajectories(write(tmp_path, rows(row))))
