"""``benchmarks.curves``: the table of what runs have logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.curves import tell, train


def run_of(directory: Path, *rows: dict[str, float]) -> Path:
    """A run that is done, with these lines of metrics."""
    directory.mkdir()
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "done").touch()
    return directory


def test_an_evaluation_that_was_made_up_for_belongs_to_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that a signal ended before its evaluation logs that by itself when it goes on."""
    way = {"step": 34, "loss": 2.0, "eval_loss": 1.5}
    plain = run_of(tmp_path / "plain", way, {"step": 170, "loss": 0.5, "eval_loss": 1.0})
    halted = run_of(tmp_path / "halted", way, {"step": 170, "loss": 0.6}, {"step": 170, "eval_loss": 0.9})
    tell({"float32": [train(plain, [])], "bf16": [train(halted, [])]})
    cells = [[cell.strip() for cell in line.split("|")[3:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert cells == [
        ["1.500", "1.0000", "0.5000", "+0.00 %", "+0.00 %"],
        ["1.500", "0.9000", "0.6000", "-10.00 %", "+20.00 %"],
    ]
