"""The command line as a user meets it: help, errors in one line with exit code 2, commands that need no model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tl_jax import demo
from tl_jax.cli import main
from tl_jax.cli.names import OneOf

TOOLS = [{"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_explains_every_command(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    explanation = " ".join((main.commands[command].help or "").split())[:60]
    assert len(explanation) > 20
    assert explanation in " ".join(result.output.split())


def test_the_list_of_commands_has_each_of_them_once() -> None:
    shown = re.findall(r"^  ([a-z][a-z-]+)  ", run("--help").output, flags=re.MULTILINE)
    assert sorted(shown) == sorted(main.commands)


@pytest.mark.parametrize("alias", ["ppo", "grpo"])
def test_rl_has_other_names(alias: str) -> None:
    assert run(alias, "--help").output == run("rl", "--help").output.replace("Usage: main rl", f"Usage: main {alias}")
    assert run("config", alias).output == run("config", "rl").output


def test_what_a_program_adds_to_a_registry_is_offered() -> None:
    names = {"cat": 1}
    command = click.Command("pet", params=[click.Option(["--kind"], type=OneOf(names, "any"))])
    assert CliRunner().invoke(command, ["--kind", "hen"]).exit_code == 2
    names["hen"] = 2
    assert CliRunner().invoke(command, ["--kind", "hen"]).exit_code == 0
    assert "[any|cat|hen]" in CliRunner().invoke(command, ["--help"]).output


def test_a_module_is_imported_first_and_its_records_are_there(tmp_path: Path) -> None:
    """In a process of its own, for what it adds would stay."""
    (tmp_path / "generous.py").write_text(
        "from tl_jax.tooluse.rewards.profiles import PROFILES, RewardTable\n"
        "PROFILES.add(RewardTable('generous', correct=3.0, description='more'))\n"
    )
    command = [sys.executable, "-m", "tl_jax.cli", "--import", "generous", "reward", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(Path(demo.__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert "|generous|" in done.stdout, done.stderr
    result = run("--import", "generos", "reward", "--help")
    assert result.exit_code == 2
    assert result.output.startswith("tl-jax: 'generos': there is no module")


def test_an_unknown_mae_rule_is_one_line_with_a_suggestion(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {})
    for command in (
        ("inspect", "--data", source, "--tokenizer", BASE, "--mae"),
        ("analyze", "--data", source, "--rule"),
    ):
        for rule, told in (
            ("papre", "did you mean 'paper'?"),
            ("{name: papre, options: {}}", "did you mean 'paper'?"),
            ("{nme: paper}", "unknown key 'nme'; did you mean 'name'?"),
            ("{name: paper", "expected ',' or '}'"),
        ):
            result = run(*command, rule)
            assert result.exit_code == 2
            assert result.output.count("\n") == 1
            assert told in result.output


def test_a_mistyped_command_is_corrected() -> None:
    result = run("evall")
    assert result.exit_code == 2
    assert "Did you mean 'eval'?" in result.output


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", {})
    result = run("mae", "--in", tmp_path / "trian.jsonl", "--out", tmp_path / "o.jsonl")
    assert result.exit_code == 2
    assert "trian.jsonl' does not exist" in result.output
    assert result.output.count("\n") == 1
    assert "train.jsonl'?" in result.output


def test_an_unknown_config_key_is_one_line_with_a_suggestion(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("run_dir: r\nmodel: {path: m}\ndata: {path: d, max_lenght: 3}\n")
    result = run("sft", "--config", config)
    assert result.exit_code == 2
    assert result.output.strip() == "tl-jax: unknown key 'data.max_lenght'; did you mean 'data.max_length'?"


def test_mae_marks_and_audits(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [{"name": "get_weather", "arguments": {"town": "Oslo"}}]},
            {"role": "tool", "content": "TypeError: get_weather() got an unexpected keyword argument 'town'"},
            {"role": "assistant", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]},
            {"role": "tool", "content": '{"rain": true}'},
            {"role": "assistant", "content": "Rain."},
        ],
    }
    source = write_lines(tmp_path / "in.jsonl", row)
    result = run("mae", "--in", source, "--out", tmp_path / "out.jsonl", "--audit", tmp_path / "audit.jsonl")
    assert result.exit_code == 0, result.output
    marked = json.loads((tmp_path / "out.jsonl").read_text())
    assert [m.get("weight") for m in marked["messages"] if m["role"] == "assistant"] == [0, None, None]
    audit = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {(line["rule"], line["turn"], line["message"], line["applied"]) for line in audit} == {
        ("paper", 1, 1, True),
        ("reference", 1, 1, False),
    }
    assert audit[0]["category"] == "parameter_hallucination"
    assert audit[0]["file"] == str(source)


def test_mae_writes_nothing_when_a_row_is_bad(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"id": "a", "messages": [{"role": "user"}]}, {"id": "b"})
    result = run("mae", "--in", source, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert f"{source}:2: messages" in result.output
    assert not (tmp_path / "out.jsonl").exists()


def score_files(tmp_path: Path, *predictions: dict[str, str], options: Sequence[str] = ()) -> Result:
    case = {
        "tools": TOOLS,
        "messages": [{"role": "user", "content": "?"}],
        "gold": [[{"name": "get_weather", "arguments": {"city": "Oslo"}}]],
    }
    cases = write_lines(tmp_path / "cases.jsonl", {"id": "1", **case}, {"id": "2", **case})
    answers = write_lines(tmp_path / "predictions.jsonl", *predictions)
    return run("score", "--cases", cases, "--predictions", answers, "--json", *options)


def test_score_prints_json(tmp_path: Path) -> None:
    result = score_files(
        tmp_path,
        {"id": "1", "prediction": "get_weather(city = 'Oslo')"},
        {"id": "2", "prediction": "get_weather(city = 'Rome')"},
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["cases"], figures["TS"], figures["PI"], figures["CF"]) == (2, 100, 100, 50)


@pytest.mark.parametrize(
    ("options", "right"),
    [((), 2), (("--strict",), 0), (("--policy", "all"), 1), (("--rotbench",), 2), (("--rotbench", "--strict"), 0)],
)
def test_score_options(tmp_path: Path, options: Sequence[str], right: int) -> None:
    result = score_files(
        tmp_path,
        {"id": "1", "prediction": "So:\nget_weather(city = 'Oslo')"},
        {"id": "2", "prediction": "get_weather(city = 'Oslo')\nget_weather(city = 'Rome')\n..."},
        options=options,
    )
    figures = json.loads(result.stdout)
    assert figures["TS"] == 50 * right
    assert figures["strict"] == ("--strict" in options)
    assert len(figures["TS_interval"]) == 2


def test_a_missing_prediction_counts_as_wrong_and_is_told(tmp_path: Path) -> None:
    result = score_files(tmp_path, {"id": "1", "prediction": "get_weather(city = 'Oslo')"})
    assert json.loads(result.stdout)["TS"] == 50
    assert "1 cases have no prediction" in result.stderr


def test_a_prediction_without_a_case_is_an_error(tmp_path: Path) -> None:
    result = score_files(tmp_path, {"id": "9", "prediction": ""})
    assert result.exit_code == 2
    assert "'9'" in result.output


BASE = Path(demo.__file__).parent / "base"
"""The demo's model: a context of 4096 tokens."""


@pytest.mark.jax
def test_generate_names_the_conversation_that_is_too_long(tmp_path: Path) -> None:
    short, long = ([{"role": "User", "content": "word " * count}] for count in (1, 3000))
    source = write_lines(tmp_path / "asked.jsonl", short, {"id": "saga", "messages": long})
    result = run("generate", "--model", BASE, "--input", source, "--batch-size", 1)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert result.output.startswith("tl-jax: conversation saga has 6")
    assert "4096" in result.output


@pytest.mark.jax
def test_eval_stops_when_the_model_has_room_for_no_prompt(tmp_path: Path) -> None:
    case = {"tools": TOOLS, "messages": [{"role": "user", "content": "?"}], "gold": [[{"name": "get_weather"}]]}
    cases = write_lines(tmp_path / "cases.jsonl", {"id": "1", **case}, {"id": "2", **case})
    result = run("eval", "--model", BASE, "--cases", cases, "--out", tmp_path / "out", "--max-new-tokens", 4090)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert result.output.startswith("tl-jax: all 2 prompts are too long for the model")


def test_what_cannot_be_written_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"id": "a", "messages": [{"role": "user", "content": "?"}]})
    file = write_lines(tmp_path / "file", {})
    for out, told in (
        (tmp_path, "directory"),
        (file / "out.jsonl", "where a directory is needed"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("/proc/out.jsonl", "No such file or directory"),
    ):
        for command in (("mae", "--in", source, "--out", out), ("data", "convert", "--in", source, "--out", out)):
            result = run(*command)
            assert result.exit_code == 2, result.output
            assert result.output.count("\n") == 1, result.output
            assert told in result.output
            assert result.exception is None or isinstance(result.exception, SystemExit)
    assert sorted(os.listdir(tmp_path)) == ["file", "in.jsonl"]


def test_whatever_the_system_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/there")

    monkeypatch.setattr("tl_jax.tooluse.mae.audit.run_mae", refused)
    result = run("mae", "--in", write_lines(tmp_path / "in.jsonl", {}), "--out", tmp_path / "o")
    assert (result.exit_code, result.output) == (2, "tl-jax: /there: Permission denied\n")


@pytest.mark.parametrize(("stopped_by", "code"), [(None, 0), ("SIGINT", 130), ("SIGTERM", 143), ("another", 143)])
@pytest.mark.parametrize(("command", "function"), [("sft", "training.sft.run_sft"), ("rl", "rl.train.run_rl")])
@pytest.mark.jax
def test_a_stopped_run_does_not_exit_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: str | None, code: int, command: str, function: str
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("run_dir: r\nmodel: {path: m}\ndata: {path: d}\n")
    monkeypatch.setattr(f"tl_jax.{function}", lambda config: {"step": 3, "stopped_by": stopped_by})
    assert run(command, "--config", config).exit_code == code


def test_ctrl_c_in_any_command_exits_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tl_jax.tooluse.mae.audit.run_mae", stopped)
    result = run("mae", "--in", write_lines(tmp_path / "in.jsonl", {}), "--out", tmp_path / "o")
    assert (result.exit_code, result.output) == (130, "tl-jax: stopped by Ctrl-C\n")
