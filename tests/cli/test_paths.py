"""Paths on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tl_jax.cli import main

ROW = {"id": "1", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
CASE = {"id": "1", "messages": [{"role": "user", "content": "?"}], "gold": [[{"name": "go", "arguments": {}}]]}
FILES = {"rows.jsonl": ROW, "cases.jsonl": CASE, "answers.jsonl": {"id": "1", "prediction": "go()"}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, row in FILES.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    (tmp_path / "link.html").symlink_to("answers.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("mae --in rows.jsonl --out ./rows.jsonl", "--in"),
        ("mae --out rows.jsonl --in rows.jsonl", "--out"),
        ("mae --in rows.jsonl --out new.jsonl --audit new.jsonl", "--out"),
        ("data convert --in cases.jsonl --in rows.jsonl --out rows.jsonl", "--in"),
        ("analyze --data rows.jsonl --json rows.jsonl", "--data"),
        ("analyze --data rows.jsonl --json new.html --plot new.html", "--json"),
        ("compare answers.jsonl answers.jsonl --cases cases.jsonl --html link.html", "--html"),
    ],
)
def test_a_file_that_a_line_names_twice_is_not_written(home: Path, line: str, named: str) -> None:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert f"is what {named} names, too; choose another file." in result.stderr
    assert {name: json.loads((home / name).read_text()) for name in FILES} == FILES
    assert len(os.listdir(home)) == len(FILES) + 1


@pytest.mark.parametrize("swapped", [False, True])
def test_a_file_of_a_folder_that_a_line_reads_is_not_replaced(home: Path, swapped: bool) -> None:
    (home / "ev").mkdir()
    (home / "ev" / "rows.jsonl").write_text(json.dumps(ROW))
    sides = ["--in ev", "--out ev/../ev/rows.jsonl"]
    line = f"data convert {' '.join(sides[::-1] if swapped else sides)}"
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert "would replace a file of 'ev', which is read; choose another file." in result.stderr
    assert json.loads((home / "ev" / "rows.jsonl").read_text()) == ROW


def test_convert_does_not_write_what_it_would_read_the_next_time(home: Path) -> None:
    (home / "ev" / "deep").mkdir(parents=True)
    (home / "ev" / "rows.jsonl").write_text(json.dumps(ROW))
    for out in ("ev/new.jsonl", "ev/deep/new.jsonl", "ev/deep/../new.gz"):
        result = CliRunner().invoke(main, ["data", "convert", "--in", "rows.jsonl", "--in", "ev", "--out", out])
        assert result.exit_code == 2
        assert f"{out!r} would be a file of 'ev', which is read; choose another folder." in result.stderr
    for _ in range(2):
        assert CliRunner().invoke(main, ["data", "convert", "--in", "ev", "--out", "ev.jsonl"]).exit_code == 0
    assert sorted(os.listdir(home / "ev")) == ["deep", "rows.jsonl"]


def test_what_is_only_read_or_holds_nothing_may_be_named_twice(home: Path) -> None:
    for line in (
        "compare answers.jsonl answers.jsonl --cases cases.jsonl",
        f"mae --in rows.jsonl --out {os.devnull} --audit {os.devnull}",
    ):
        assert CliRunner().invoke(main, line.split()).exit_code == 0
