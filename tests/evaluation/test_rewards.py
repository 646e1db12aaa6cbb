"""``tl-jax reward``: lines for programs, a table for people, and what is wrong with the files on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tl_jax.cli import main
from tl_jax.evaluation.rewards import histogram, reward_file
from tl_jax.tooluse.mae.apply import FAILED_CALLS
from tl_jax.tooluse.schema import DataError

TOOLS = [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}]


def row(name: str, *gold: list[dict[str, Any]], suite: str = "small", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "suite": suite,
        "tools": TOOLS,
        "messages": [{"role": "user", "content": "?"}],
        "gold": list(gold),
        **more,
    }


def call(**arguments: Any) -> list[dict[str, Any]]:
    return [{"name": "f", "arguments": arguments}]


CASES = (
    row("right", call(n=1)),
    row("wrong", call(n=1), call(n=2)),
    row("none", []),
    row("missing", call(n=1)),
    row("faulty", call(n=1, m=2), suite="large"),
    row("open", gold_kind="none"),
)
ANSWERS = {"right": "f(n=1)", "wrong": "f(n=3)", "none": "No.", "faulty": "f(n=1, m=2)", "open": "f()"}


def run(folder: Path, *options: str, answers: dict[str, str] = ANSWERS, cases: tuple[Any, ...] = CASES) -> Result:
    files = {
        "--cases": (folder / "cases.jsonl", cases),
        "--predictions": (
            folder / "answers.jsonl",
            [{"id": name, "prediction": text} for name, text in answers.items()],
        ),
    }
    for path, rows in files.values():
        path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return CliRunner().invoke(
        main, ["reward", *(str(x) for flag, (path, _) in files.items() for x in (flag, path)), *options]
    )


def test_one_line_for_each_prediction(tmp_path: Path) -> None:
    result = run(tmp_path, "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == [
        {"id": "right", "reward": 1.0, "category": "correct", "explanation": "correct: +1"},
        {
            "id": "wrong",
            "reward": -0.25,
            "category": "wrong_value",
            "explanation": "wrong_value: 'n' is 3, not 1: -0.25",
        },
        {"id": "none", "reward": 1.0, "category": "correct", "explanation": "correct: +1"},
        {"id": "faulty", "reward": 1.0, "category": "correct", "explanation": "correct: +1"},
    ]
    assert result.stderr.splitlines() == [
        "fault of the data: faulty: gold[0]: f: argument 'm' is not in the schema",
        "1 cases have no prediction: missing",
        "1 cases have a prediction but no gold answer: open",
    ]


def test_profiles_by_name_and_by_file(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("wrong_value: 0.5\n")
    for profile, value in (("toolrl", 2.0), ("binary", 0.0), (str(own), 0.5)):
        lines = [json.loads(line) for line in run(tmp_path, "--json", "--profile", profile).stdout.splitlines()]
        assert lines[1]["reward"] == value
    own.write_text("wrong_valu: 0.5\n")
    for profile, message in ((str(own), "did you mean 'wrong_value'?"), ("toolr", "did you mean 'toolrl'?")):
        result = run(tmp_path, "--profile", profile)
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_table_and_a_histogram(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0
    cells = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert ["small", "3", "+0.5833", "66.67"] in cells
    assert ["large", "1", "+1.0000", "100.00"] in cells
    assert ["all", "4", "+0.6875", "75.00"] in cells
    assert [line[:2] for line in cells if line and line[0] in ("correct", "wrong_value")] == [
        ["correct", "3"],
        ["wrong_value", "1"],
    ]


def test_no_prediction_at_all(tmp_path: Path) -> None:
    result = run(tmp_path, answers={})
    assert result.exit_code == 0
    assert "5 cases have no prediction: right, wrong, none, ..." in result.stderr
    assert ["all", "0", "-", "-"] in [line.replace("│", " ").split() for line in result.stdout.splitlines()]


def test_failed_calls_of_trajectories_are_no_gold_answers(tmp_path: Path) -> None:
    """As for ``score`` and ``eval``, which gives no answers to them."""
    turns = [{"role": "user", "content": "?"}]
    for number, result in enumerate(("Error: boom", "5")):
        turns += [{"role": "assistant", "tool_calls": call(n=number)}, {"role": "tool", "content": result}]
    trajectory = {"id": "t", "tools": TOOLS, "messages": turns}
    found = run(tmp_path, "--json", answers={"t#3": "f(n=1)"}, cases=(trajectory,))
    assert (found.stderr, json.loads(found.stdout)["reward"]) == (f"{FAILED_CALLS} (1 x)\n", 1.0)
    assert "1 predictions belong to no case" in run(tmp_path, answers={"t#1": "f(n=0)"}, cases=(trajectory,)).stderr


def test_ids_that_do_not_fit(tmp_path: Path) -> None:
    assert "'other'" in run(tmp_path, answers={"other": ""}).stderr
    assert "'right' appears twice" in run(tmp_path, cases=(CASES[0], CASES[0])).stderr
    with pytest.raises(DataError, match=r"cases.jsonl: id: 'right' appears twice"):
        reward_file(tmp_path / "cases.jsonl", tmp_path / "answers.jsonl")


def test_real_gold_in_the_papers_format(shared_data: Path, tmp_path: Path) -> None:
    """Every gold answer of the evaluation sets earns 1, read from files."""
    from tl_jax.tooluse.readers import read_cases
    from tl_jax.tooluse.text.render import PaperRenderer

    for name in ("toolalpaca", "bfcl_exec_parallel"):
        path = shared_data / "eval" / f"{name}.jsonl"
        answers = tmp_path / "answers.jsonl"
        rows = [
            {"id": one.id, "prediction": PaperRenderer().answer(gold)}
            for one in read_cases(path)
            for gold in [one.gold[0][:1] if one.gold_kind == "sequence" else one.gold[0]]
        ]
        answers.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
        found = reward_file(path, answers)
        assert histogram(found) == {"correct": len(rows)}
        assert not found.missing
