"""`tl-jax data convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.tooluse.readers.examples import EXAMPLES
from tests.tooluse.readers.helpers import document, lines
from tl_jax.cli import main
from tl_jax.tooluse.convert import convert
from tl_jax.tooluse.mae.apply import FAILED_CALLS
from tl_jax.tooluse.readers import FORMATS, read_cases, read_trajectories
from tl_jax.tooluse.schema import Case, DataError

(BFCL,), (GLAIVE,), (TOOLALPACA,), (XLAM,) = (EXAMPLES[name] for name in ("bfcl", "glaive", "toolalpaca", "xlam"))
HERMES, LLAMA_FACTORY = EXAMPLES["sharegpt"]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["data", "convert", *map(str, arguments)])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_format_becomes_canonical(tmp_path: Path, name: str) -> None:
    source = lines(tmp_path / "clean.jsonl", *EXAMPLES[name])
    out = tmp_path / "new" / "out.jsonl"
    (report,) = convert([source], out, name)
    read = read_trajectories if FORMATS[name].trajectories else read_cases
    assert list(read(out, "canonical")) == list(read(source, name))  # type: ignore[operator]
    assert (report.written, report.skipped) == (len(out.read_text().splitlines()), [])


def test_calls_of_trajectories_as_cases(tmp_path: Path) -> None:
    source, out = lines(tmp_path / "data.jsonl", HERMES, LLAMA_FACTORY), tmp_path / "cases.jsonl"
    convert([source], out, kind="cases")
    cases = [Case.from_json(json.loads(line)) for line in out.open(encoding="utf-8")]
    assert [(case.id, len(case.gold[0])) for case in cases] == [("h1#1", 2), ("data:2#2", 1)]
    convert([lines(tmp_path / "xlam.jsonl", XLAM)], out, "xlam", "cases")
    assert next(read_cases(out)).id == "xlam/7"


@pytest.mark.parametrize(
    ("format", "calls"),
    [
        ("canonical", [{"name": name, "arguments": {}} for name in ("run", "go")]),
        ("openai", [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("run", "go")]),
    ],
)
def test_calls_that_failed_are_no_cases(tmp_path: Path, format: str, calls: list[Any]) -> None:
    """Whether the format has cases of its own or not."""
    failed, gone = [{"role": "tool", "content": text} for text in ('{"error": "there is no tool named run"}', "gone")]
    said = [{"role": "assistant", "content": None, "tool_calls": [call]} for call in calls]
    row = {"id": "t", "messages": [{"role": "user", "content": "go"}, said[0], failed, said[1], gone]}
    out = tmp_path / "cases.jsonl"
    result = run("--in", lines(tmp_path / "data.jsonl", row), "--as", "cases", "--out", out)
    (case,) = map(Case.from_json, map(json.loads, out.open(encoding="utf-8")))
    assert (case.id, case.gold[0][0].name, len(case.messages)) == ("t#3", "go", 3)
    assert f"({format}): 1 cases read, 1 written" in result.output
    assert f"{FAILED_CALLS} (1 x)" in result.output


def test_the_first_bad_row_stops_and_leaves_nothing(tmp_path: Path) -> None:
    source, out = lines(tmp_path / "data.jsonl", HERMES, {"conversations": [{"from": "gpt"}]}), tmp_path / "out.jsonl"
    with pytest.raises(DataError, match=r"data\.jsonl:2: conversations\[0\]\.value: is missing"):
        convert([source], out)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
    result = run("--in", source, "--out", out)
    assert (result.exit_code, "data.jsonl:2: conversations[0].value: is missing" in result.output) == (2, True)


def test_skipping_counts_and_names_bad_rows(tmp_path: Path) -> None:
    broken = [{"conversations": [{"from": f"alien {n}", "value": ""}]} for n in range(12)]
    first = lines(tmp_path / "a.jsonl", HERMES, *broken)
    second = lines(tmp_path / "b.jsonl", LLAMA_FACTORY, HERMES)
    result = run("--in", first, "--in", second, "--out", tmp_path / "out.jsonl", "--on-error", "skip")
    assert result.exit_code == 0
    assert f"{first} (sharegpt): 13 trajectories read, 1 written, 12 skipped, 0 secrets masked" in result.output
    assert f"  skipped: {first}:2: conversations[0].from: unknown speaker 'alien 0'" in result.output
    assert "  ... and 2 more; by reason:\n      12 unknown speaker ..." in result.output
    assert (
        f"  skipped: {second}: id: 'h1' is also the id of a row before it, in {first}; give each an id" in result.output
    )
    assert "out.jsonl: 2 rows\n" in result.output


def test_keys_are_masked_and_counted(tmp_path: Path) -> None:
    secret = "sk-" + "aB3" * 16
    source = lines(tmp_path / "data.jsonl", {**GLAIVE, "chat": f"USER: Use {secret}\n\n\nASSISTANT: No."})
    out = tmp_path / "out.jsonl"
    (report,) = convert([source], out)
    assert report.masked == 1
    assert "Use ***" in out.read_text()
    (report,) = convert([document(tmp_path / "eval_real.json", [TOOLALPACA])], out)
    assert report.masked == 2
    assert "k1234567890" not in out.read_text()


def test_calls_of_tools_that_are_not_offered_are_counted(tmp_path: Path) -> None:
    row = {**BFCL, "ground_truth": ["sum(numbers=[1])", "mean(numbers=[1])"]}
    result = run("--in", lines(tmp_path / "q.jsonl", row), "--out", tmp_path / "out.jsonl")
    assert "  calls of tools that are not offered: 1" in result.output


def test_what_cannot_be_one_file(tmp_path: Path) -> None:
    cases, episodes = lines(tmp_path / "q.jsonl", BFCL), lines(tmp_path / "t.jsonl", HERMES)
    with pytest.raises(DataError, match=r"t\.jsonl: holds trajectories, but .*q\.jsonl cases"):
        convert([cases, episodes], tmp_path / "out.jsonl")
    with pytest.raises(DataError, match=r"q\.jsonl: is both read and written"):
        convert([cases], cases)
    with pytest.raises(DataError, match="holds no row that can be read"):
        convert([lines(tmp_path / "bad.jsonl", {"id": 1, "messages": []})], tmp_path / "out.jsonl", on_error="skip")


def test_folders(tmp_path: Path) -> None:
    folder = tmp_path / "answers" / "G1"
    folder.mkdir(parents=True)
    for name in ("2_DFS.json", "10_DFS.json"):
        document(folder / name, EXAMPLES["toolbench"][0])
    (folder / "notes.txt").write_text("x")
    document(folder / "tools.json", [])
    lines(folder / "possible_answer_x.json", {})
    result = run("--in", tmp_path / "answers", "--format", "toolbench", "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    assert [item.id for item in read_trajectories(tmp_path / "out.jsonl")] == ["10_DFS", "2_DFS"]
    (tmp_path / "empty").mkdir()
    wrong = run("--in", tmp_path / "empty", "--out", tmp_path / "x.jsonl").output
    assert "no .json, .jsonl, .json.gz, .jsonl.gz, .parquet, .arrow file in" in wrong


@pytest.mark.long
def test_real_files(tmp_path: Path, shared_data: Path) -> None:
    raw = shared_data / "raw"
    sources = [raw / "rotbench", raw / "tooleyes", raw / "bfcl"]
    options = [word for source in sources for word in ("--in", source)]
    result = run(*options, "--out", tmp_path / "cases.jsonl")
    assert result.exit_code == 0, result.output
    assert "cases.jsonl: 657 rows" in result.output
    assert result.output.count("0 skipped, 0 secrets masked") == 4
    (report,) = convert([shared_data / "train" / "permissive_1018.jsonl"], tmp_path / "train.jsonl")
    assert (report.format, report.written, report.masked) == ("canonical", 1018, 0)
