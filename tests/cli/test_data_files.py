"""Every command that reads data: each kind of file, and what becomes of fields that no reader knows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from click.testing import CliRunner, Result

from tests.data.helpers import byte_level
from tl_jax.cli import main

TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"key": {"type": "string"}}}}
ROW = {
    "id": "a",
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": "What is A?"},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "look", "arguments": {"key": "A"}, "id": "1"}]},
        {"role": "tool", "content": "10", "call_id": "1"},
        {"role": "assistant", "content": "It is 10."},
    ],
}
ODD = {**ROW, "messages": [*ROW["messages"][:-1], {"role": "assistant", "content": "It is 10.", "foo": "bar"}]}  # type: ignore[misc]
KINDS = ("data.jsonl.gz", "data.parquet", "saved")
COMMANDS = ("convert", "mae", "analyze", "inspect", "score", "reward")


def written(folder: Path, kind: str, *rows: dict[str, Any]) -> Path:
    path = folder / kind
    if kind.endswith(".gz"):
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    elif kind.endswith(".parquet"):
        datasets.Dataset.from_list(list(rows)).to_parquet(path)
    elif kind == "saved":
        datasets.Dataset.from_list(list(rows)).save_to_disk(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(command: str, data: Path, *options: str) -> Result:
    """The command on this data, with all that it needs besides."""
    beside = data.parent
    out = ["--out", str(beside / "out.jsonl")]
    predictions = beside / "predictions.jsonl"
    predictions.write_text('{"id": "a#1", "prediction": "look(key = \'A\') "}\n', encoding="utf-8")
    if command == "inspect" and not (beside / "tokenizer").exists():
        byte_level(["What is A? It is 10."], use_regex=True, size=300).save_pretrained(beside / "tokenizer")
    arguments = {
        "convert": ["data", "convert", "--in", str(data), *out],
        "mae": ["mae", "--in", str(data), *out],
        "analyze": ["analyze", "--data", str(data), "--json", str(beside / "figures.json")],
        "inspect": ["inspect", "--data", str(data), "--tokenizer", str(beside / "tokenizer")],
        "score": ["score", "--cases", str(data), "--predictions", str(predictions), "--json"],
        "reward": ["reward", "--cases", str(data), "--predictions", str(predictions), "--json"],
    }
    return CliRunner().invoke(main, [*arguments[command], *options])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_opens_every_kind_of_file(tmp_path: Path, command: str, kind: str) -> None:
    """And says of it what it says of JSON lines."""
    (tmp_path / "plain").mkdir()
    plain = run(command, written(tmp_path / "plain", "data.jsonl", ROW))
    result = run(command, written(tmp_path, kind, ROW))
    assert (plain.exit_code, result.exit_code) == (0, 0), result.output
    if command in ("convert", "mae"):
        outputs = [(folder / "out.jsonl").read_text() for folder in (tmp_path, tmp_path / "plain")]
        assert outputs[0] == outputs[1]
        assert json.loads(outputs[0])["messages"][2] == {
            "role": "tool",
            "content": "10",
            "name": "look",
            "call_id": "1",
        }
    if command in ("score", "reward"):
        assert result.stdout == plain.stdout
        assert '"correct"' in result.stdout or '"CF": 100.0' in result.stdout
    if command == "analyze":
        figures = [json.loads((f / "figures.json").read_text()) for f in (tmp_path, tmp_path / "plain")]
        assert figures[0] | {"file": ""} == figures[1] | {"file": ""}


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_fields_are_errors_or_are_dropped_and_counted(tmp_path: Path, command: str) -> None:
    data = written(tmp_path, "data.jsonl", ODD)
    refused = run(command, data)
    assert refused.exit_code == 2
    assert f"{data}:1: messages[3].foo: unknown field" in refused.output
    dropped = run(command, data, "--unknown", "drop")
    assert dropped.exit_code == 0, dropped.output
    assert f"{data}: unknown field dropped: messages[].foo (1 x)" in dropped.stderr
    assert "dropped" not in run(command, written(tmp_path, "fine.jsonl", ROW), "--unknown", "drop").stderr


def test_a_folder_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, kind in enumerate((*KINDS, "data.jsonl")):
        written(folder, kind, {**ROW, "id": f"{number}"})
    (folder / "._data.jsonl").write_bytes(b"\0\5\x16\7")  # as macOS leaves it
    (folder / ".cache").mkdir()
    written(folder / ".cache", "data.jsonl", {**ROW, "id": "5"})
    result = CliRunner().invoke(main, ["data", "convert", "--in", str(folder), "--out", str(tmp_path / "out.jsonl")])
    assert result.exit_code == 0, result.output
    found = {json.loads(line)["id"] for line in (tmp_path / "out.jsonl").open(encoding="utf-8")}
    assert found == {"0", "1", "2", "3"}
