"""Files that are there whole or not at all."""

from __future__ import annotations

import gzip
import os
import re
import threading
from pathlib import Path

import pytest

from tests.small_disk import small_disk
from tests.test_layers import FILES
from tl_jax.errors import UserError
from tl_jax.files import new_file, write_json, write_lines, write_text


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    with pytest.raises(ZeroDivisionError), new_file(path) as file:
        file.write("half" + str(1 / 0))
    assert path.read_text(encoding="utf-8").startswith("{")
    write_lines(path, ["a", "b"])
    assert path.read_bytes() == b"a\nb\n"
    assert os.listdir(path.parent) == ["a.json"]


def test_a_name_that_ends_in_gz_is_packed_always_in_the_same_way(tmp_path: Path) -> None:
    written = []
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_lines(tmp_path / name, ["é", "b"])
        written.append((tmp_path / name).read_bytes())
    assert gzip.decompress(written[0]).decode() == "é\nb\n"
    assert written[0] == written[1]
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "a.jsonl.gz") as file:
        file.write("half" + str(1 / 0))
    assert (tmp_path / "a.jsonl.gz").read_bytes() == written[0]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    link, target, pipe = tmp_path / "link", tmp_path / "target", tmp_path / "pipe"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join()
    assert got == ["through"]
    assert pipe.is_fifo()


def test_a_disk_that_fills_up_is_one_line_and_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "older")
    with pytest.raises(UserError) as error, small_disk(1000):
        write_text(path, "x" * 5000)
    assert str(error.value) == f"{path}: cannot be written: File too large"
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "Is a directory"),
        ("file/a", "where a directory is needed"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        write_text(tmp_path / name, "x")
    assert str(error.value).startswith(str(tmp_path))
    assert "cannot be written: " in str(error.value)
    assert str(error.value).endswith(told)


WRITERS = {"files.py", "logs.py", "python_worker.py", "new_file.py"}
"""The module, what writes to the null device or to a pipe, and what writes within a `new_directory`."""
WRITING = re.compile(r"\.(write_text|write_bytes|copyfile)\(|open\([^)]*[\"']wb?[\"']")


def test_files_are_written_by_one_module() -> None:
    """What is written in another way is cut off when the disk is full, or the process killed."""
    assert {file.name for file in FILES if WRITING.search(file.read_text(encoding="utf-8"))} <= WRITERS
