"""What a run writes while it goes on."""

from __future__ import annotations

import importlib
import io
import json
import logging
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.small_disk import small_disk
from tl_jax.errors import UserError
from tl_jax.training.logs import RunLog, drop_metrics_after


def steps_of(directory: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


def open_log(directory: Path, start: int = 0, terminal: bool = False) -> tuple[RunLog, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    return RunLog(directory, start=start, total=10, console=console), out


def test_metrics_lines_and_plain_text(tmp_path: Path) -> None:
    log, out = open_log(tmp_path)
    log.line("[bold]a name in brackets[/bold] stays as it is")
    log.metrics(5, {"loss": 1.25, "tokens_per_second": 1234.6, "grad_norm": 3.0})
    log.close()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row.pop("time") > 1.7e9
    assert row == {"step": 5, "loss": 1.25, "tokens_per_second": 1234.6, "grad_norm": 3.0}
    shown = out.getvalue()
    assert "[bold]a name in brackets[/bold] stays as it is\n" in shown
    assert "step 5/10  loss 1.2500  1,235 tokens/s  ETA 0:00:00" in shown
    assert [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == shown.splitlines()


def test_torch_is_not_loaded_to_write_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's writer loads it where it is installed, which takes seconds and memory, for nothing."""
    for name in [*sys.modules]:
        if name == "torch" or name.partition(".")[0] == "tensorboardX":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torch.py").write_text("loaded = True")
    log, _ = open_log(tmp_path / "run")
    log.metrics(5, {"loss": 1.25})
    log.close()
    assert "torch" not in sys.modules
    assert next((tmp_path / "run/tensorboard").iterdir()).stat().st_size > 100
    assert importlib.import_module("torch").loaded  # for whoever needs it


def test_what_the_package_says_is_logged_once_while_the_run_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by a library's handler of everything as well, such as ``caplog`` is one."""
    log, out = open_log(tmp_path)
    for _ in range(2):
        logging.getLogger("tl_jax.model.attention.dispatch").info("attention runs as %s", "xla")
    log.close()
    assert not caplog.records
    logging.getLogger("tl_jax").info("after the end")
    assert not caplog.records  # nobody wants to know, as before the run
    assert out.getvalue() == "attention runs as xla\n"


def test_the_bar_of_a_terminal_shows_loss_speed_and_progress(tmp_path: Path) -> None:
    log, out = open_log(tmp_path, start=2, terminal=True)
    log.metrics(4, {"loss": 0.5, "tokens_per_second": 99.0})
    log.advance(7)
    log.close()
    assert "loss 0.5000  99 tokens/s" in out.getvalue()
    assert "7/10" in out.getvalue()
    assert "ETA" in out.getvalue()


def test_a_table_goes_to_the_log_file_as_text(tmp_path: Path) -> None:
    log, out = open_log(tmp_path, terminal=True)
    table = Table("answer", "reward")
    table.add_row("search(query = 'x')", "-0.25")
    log.table(table)
    log.close()
    for text in (out.getvalue(), (tmp_path / "log.txt").read_text()):
        assert "search(query = 'x')" in text
        assert "-0.25" in text
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.metrics(1, {"loss": math.nan, "reward": math.inf})
    log.close()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["loss"] is None
    assert row["reward"] is None


def test_after_a_restart_every_step_is_there_once(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    for step in (2, 4, 6):
        log.metrics(step, {"loss": float(step)})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # killed while writing
    log, _ = open_log(tmp_path, start=4)
    for step in (6, 8):
        log.metrics(step, {"loss": float(step)})
    log.close()
    assert steps_of(tmp_path) == [2, 4, 6, 8]


def test_curves_can_be_read_back(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.metrics(3, {"loss": 0.5})
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in file.read_bytes()


def test_only_the_main_process_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = RunLog(tmp_path / "run", start=0, total=3, active=False)
    log.line("x")
    log.metrics(1, {"loss": 1.0})
    log.table("x")
    log.advance(1)
    log.close()
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


def test_nothing_to_drop(tmp_path: Path) -> None:
    drop_metrics_after(tmp_path / "metrics.jsonl", 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("terminal", [True, False])
def test_what_the_run_is_busy_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """Beside the bar at once; in the log only where nothing was said for long."""
    now = [1000.0]
    monkeypatch.setattr("tl_jax.training.logs.time.monotonic", lambda: now[0])
    log, out = open_log(tmp_path, terminal=terminal)
    log.line("begins")
    for seconds in (30, 29, 2, 30, 31, 1):
        now[0] += seconds
        log.busy(f"[b] at {now[0]:.0f}")
    log.close()
    lines = [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines == ["begins", "[b] at 1061", "[b] at 1122"]
    assert ("[b] at 1122" in out.getvalue()) != terminal
    assert ("[b] at 1123" in out.getvalue()) == terminal


def test_a_disk_that_is_full_is_told_once_and_closing_adds_nothing(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    with small_disk(100):
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: File too large$"):
            log.metrics(1, {"x" * 200: 1.0})
        with pytest.raises(UserError, match=r"log\.txt: cannot be written: File too large$"):
            log.line("x" * 200)
        log.close()
