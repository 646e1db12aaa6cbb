"""`tl-jax mae` as a function: what it counts, writes and prints."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tl_jax.cli import main
from tl_jax.config import MaeConfig
from tl_jax.errors import UserError
from tl_jax.tooluse.mae.apply import PACKS, RULES, Category, Finding
from tl_jax.tooluse.mae.audit import run_mae
from tl_jax.tooluse.mae.finding import Finder
from tl_jax.tooluse.mae.rules import Rule
from tl_jax.tooluse.schema import Call, Message, Trajectory


def call() -> Message:
    return Message("assistant", "", (Call("f"),))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three calls: a timeout, a bad value, a result; then talk with the user."""
    messages = (
        Message("user", "go"),
        call(),
        Message("tool", "Read timed out"),
        call(),
        Message("tool", '{"error": "invalid date"}'),
        call(),
        Message("tool", "3"),
        Message("assistant", "3."),
        Message("user", "thanks"),
        Message("assistant", "Bye."),
    )
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(Trajectory("a", (), messages).to_json()) + "\n")
    return path


def weights(path: Path) -> list[float | None]:
    (line,) = path.read_text().splitlines()
    return [message.weight for _, message in Trajectory.from_json(json.loads(line)).turns]


def test_counts_by_category_and_by_cue(source: Path, tmp_path: Path) -> None:
    report = run_mae(source, tmp_path / "out.jsonl", None)
    assert report.rules["paper"].turns == {"environment": 1, "bad_value": 1}
    assert report.rules["reference"].turns == {'cue "error":': 1, "followed by a user message": 1}
    assert weights(tmp_path / "out.jsonl") == [0, 0, None, None, None]
    lines = [" ".join(line.split()) for line in report.lines()]
    assert lines[:2] == [
        "1 trajectories, 5 assistant turns",
        "rule paper (applied, weight 0): 2 (40.0 %) turns blocked, in 1 trajectories",
    ]
    assert "followed by a user message 1 (20.0 %)" in lines


def test_the_options_reach_the_output(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run_mae(source, out, None, factor=0.25)
    assert weights(out) == [0.25, 0.25, None, None, None]
    run_mae(source, out, None, block="caller")
    assert weights(out) == [None, 0, None, None, None]
    run_mae(source, out, None, packs=("http",))
    assert weights(out) == [0, None, None, None, None]
    run_mae(source, out, None, rule="reference")
    assert weights(out) == [None, 0, None, 0, None]
    run_mae(source, out, None, rule="none")
    assert weights(out) == [None] * 5


def three(result: str) -> Category | None:
    return Category.BAD_VALUE if result == "3" else None


def test_a_rule_of_ones_own_is_compared_with_both(source: Path, tmp_path: Path) -> None:
    rule, audit = f"{__name__}:three", tmp_path / "audit.jsonl"
    report = run_mae(source, tmp_path / "out.jsonl", audit, rule=rule)
    assert list(report.rules) == [rule, "paper", "reference"]
    assert weights(tmp_path / "out.jsonl") == [None, None, 0, None, None]
    (applied,) = [line for line in map(json.loads, audit.read_text().splitlines()) if line["applied"]]
    assert (applied["rule"], applied["turn"], applied["message"], applied["evidence"]) == (rule, 3, 5, "3")


def test_the_documented_rule_works(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "mae.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_rules.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    source.write_text(source.read_text().replace('"3"', '"#REJECTED 3"'))
    run_mae(source, tmp_path / "out.jsonl", None, rule="my_rules:my_rule")
    assert weights(tmp_path / "out.jsonl") == [0, 0, 0, None, None]
    (written,) = re.findall(r"--rule '(.*)'", page)
    source.write_text(source.read_text().replace("#REJECTED 3", "#BAD 3"))
    run_mae(source, tmp_path / "out.jsonl", None, rule="my_rules:my_rule")
    assert weights(tmp_path / "out.jsonl") == [0, 0, None, None, None]
    command = ["mae", "--in", str(source), "--out", str(tmp_path / "out.jsonl"), "--rule", written]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert "rule my_rules:my_rule(sign='#BAD') (applied, weight 0): " in result.output
    assert weights(tmp_path / "out.jsonl") == [0, 0, 0, None, None]


def test_packs_rules_and_categories_are_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "mae.md").read_text(encoding="utf-8")
    assert [name for name in (*PACKS, *RULES, *Category) if f"| `{name}` |" not in page] == []


def test_a_rule_from_outside_is_offered_and_counted(source: Path, tmp_path: Path) -> None:
    threes = Finder.of_results(
        lambda result, calls: Finding(Category.BAD_VALUE, "three", "3") if three(result) else None
    )
    with RULES.added(Rule("threes", "a result of 3", lambda packs: threes, has_categories=False)):
        report = run_mae(source, tmp_path / "out.jsonl", None, rule="threes")
        assert report.rules["threes"].turns == {"three": 1}
        assert weights(tmp_path / "out.jsonl") == [None, None, 0, None, None]
        assert str(MaeConfig(rule="threes").rule) == "threes"
        help_text = CliRunner().invoke(main, ["mae", "--help"]).output
        assert "threes" in help_text
    with pytest.raises(UserError, match="unknown MAE rule 'threes'; known: none, paper, reference or module:function"):
        run_mae(source, tmp_path / "out.jsonl", None, rule="threes")


@pytest.mark.parametrize("wrong", [{"rule": "papper"}, {"packs": ("htpp",)}, {"rule": "nowhere:f"}])
def test_nothing_is_written_when_an_option_is_wrong(source: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"papper|htpp|nowhere"):
        run_mae(source, tmp_path / "out.jsonl", None, **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out.jsonl").exists()
