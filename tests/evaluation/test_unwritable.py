"""Cases that nobody can answer in the text format: every command says so, and no 0 % is silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tl_jax.cli import main

LONG = "x" * 20_001
TOOL = {"name": "write", "parameters": {"properties": {"text": {"type": "string"}}}}
LINE = "a gold answer that the format 'paper' cannot say"
REASON = "longer than 20000 characters"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Two cases that can be answered in the paper's format, one of them rightly answered, and one that cannot."""
    texts = {"right": "a", "wrong": "b", "long": LONG}
    rows: list[dict[str, Any]] = [
        {
            "id": name,
            "tools": [TOOL],
            "messages": [{"role": "user", "content": "?"}],
            "gold": [[{"name": "write", "arguments": {"text": text}}]],
        }
        for name, text in texts.items()
    ]
    answers = [{"id": "right", "prediction": "write(text='a')"}, {"id": "long", "prediction": f"write(text={LONG!r})"}]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return ("--cases", str(tmp_path / "cases.jsonl"), "--predictions", str(tmp_path / "answers.jsonl"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_score_leaves_them_out_and_says_so(files: tuple[str, ...]) -> None:
    result = run("score", *files, "--json")
    found = json.loads(result.stdout)
    assert (found["cases"], found["TS"], found["missing"], found["unwritable"]) == (2, 50.0, 1, "skip")
    assert found["unwritable_cases"] == {"long": REASON}
    assert f"1 case has {LINE}, and is left out: long ({REASON})" in result.stderr


def test_score_keeps_or_refuses_them(files: tuple[str, ...]) -> None:
    result = run("score", *files, "--json", "--unwritable", "keep")
    assert (json.loads(result.stdout)["cases"], json.loads(result.stdout)["unwritable_cases"]) == (3, {"long": REASON})
    assert LINE in result.stderr
    result = run("score", *files, "--unwritable", "error")
    assert result.exit_code == 2
    assert result.output == (
        f"tl-jax: 1 case has {LINE}: long ({REASON}); leave them out with unwritable=skip, or use another format "
        "(renderer)\n"
    )


def test_reward_leaves_them_out_and_says_so(files: tuple[str, ...]) -> None:
    result = run("reward", *files, "--json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["right"]
    assert f"1 case has {LINE}, and is left out" in result.stderr
    result = run("reward", *files, "--json", "--unwritable", "keep")
    assert [json.loads(line)["reward"] for line in result.stdout.splitlines()] == [1.0, -2.0]
    assert LINE in result.stderr
    assert run("reward", *files, "--unwritable", "error").exit_code == 2


def test_a_format_is_asked_for_by_its_name(files: tuple[str, ...]) -> None:
    assert "'released' cannot say" in run("reward", *files, "--renderer", "released").stderr
    assert "needs the model's chat template" in run("score", *files, "--renderer", "chat").output


def test_a_suite_has_rules_of_its_own(files: tuple[str, ...]) -> None:
    result = run("score", "--suite", "bfcl_v4", *files[2:], "--unwritable", "keep")
    assert "--unwritable does not go with --suite" in result.output
