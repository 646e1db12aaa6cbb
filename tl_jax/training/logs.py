"""What is seen while a run goes on: a progress bar, lines of text, TensorBoard scalars and a JSONL file.

Only the main process writes; in the others every call does nothing.
"""

from __future__ import annotations

import datetime
import io
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tl_jax.files import told, write_lines
from tl_jax.run_files import LOG_FILE, METRICS_FILE
from tl_jax.terminal import SafeConsole
from tl_jax.visible import visible

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

EVAL = "eval_"
"""How the names of metrics begin that are of an evaluation."""
SHOWN = ("loss", "reward", "tokens_per_second")
"""Metrics that the progress bar has room for, where a run has them."""
_PACKAGE = logging.getLogger("tl_jax")
QUIET_SECONDS = 60.0
"""After how long without a line the log says what the run is busy with."""


class _Listener(logging.Handler):
    """Hands on what the package says while it works, each sentence once."""

    def __init__(self, line: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._line, self._said = line, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self._said:
            self._said.add(text)
            self._line(text)


class RunLog:
    """The log of one start of a run, whose steps before ``start`` are already on record."""

    def __init__(
        self, directory: Path, *, start: int, total: int, active: bool = True, console: Console | None = None
    ) -> None:
        self._active = active
        if not active:
            return
        self._written = time.monotonic()
        directory.mkdir(parents=True, exist_ok=True)
        drop_metrics_after(directory / METRICS_FILE, start)
        self._metrics: TextIO = (directory / METRICS_FILE).open("a", encoding="utf-8")
        self._text: TextIO = (directory / LOG_FILE).open("a", encoding="utf-8")
        self._curves = _curves(directory / "tensorboard", start + 1)
        self._start, self._total, self._began = start, total, time.perf_counter()
        self._console = console or SafeConsole(stderr=True)
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[shown]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[busy]}"),
                console=self._console,
            )
            self._task = self._progress.add_task("", total=total, completed=start, shown="", busy="")
            self._progress.start()
        self._listener = _Listener(self.line)
        _PACKAGE.addHandler(self._listener)
        _PACKAGE.setLevel(logging.INFO)
        _PACKAGE.propagate = False  # else a library's handler of everything would print it again

    def line(self, text: str) -> None:
        """A line of text, on the terminal and with the time in ``log.txt``."""
        if self._active:
            text = visible(text).replace("\n", "\n  ")  # a line of its own would look like one of ours
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
            self._write_text(text)

    def busy(self, text: str) -> None:
        """What the run is busy with: beside the bar of a terminal, and a line of the log once it was quiet for long."""
        if not self._active:
            return
        if self._progress:
            self._progress.update(self._task, busy=escape(visible(text)))
        if time.monotonic() - self._written >= QUIET_SECONDS:
            self._write_text(visible(text))
            if not self._progress:
                self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def table(self, table: Any) -> None:
        """Anything `rich` can draw, on the terminal and as plain text in ``log.txt``."""
        if self._active:
            self._console.print(table)
            plain = io.StringIO()
            SafeConsole(width=160, file=plain).print(table)
            self._write_text("\n" + plain.getvalue().rstrip())

    def advance(self, step: int) -> None:
        """Moves the progress bar to ``step`` updates done."""
        if self._active and self._progress:
            self._progress.update(self._task, completed=step)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Records the values of ``step``: a line of ``metrics.jsonl``, curves, and the line people look at."""
        if not self._active:
            return
        row = {"step": step, "time": round(time.time(), 3)} | {name: _json_number(v) for name, v in values.items()}
        _append(self._metrics, json.dumps(row) + "\n")
        for name, value in values.items():
            self._curves.add_scalar(name, value, step)
        shown = "  ".join(_show(name, values[name]) for name in SHOWN if name in values)
        if self._progress:
            self._progress.update(self._task, completed=step, shown=shown)
        else:
            seconds = (time.perf_counter() - self._began) / max(step - self._start, 1) * (self._total - step)
            eta = datetime.timedelta(seconds=round(seconds))
            self.line(f"step {step}/{self._total}  {shown}  ETA {eta}")

    def close(self) -> None:
        """Flushes and closes everything; the terminal is usable again."""
        if not self._active:
            return
        _PACKAGE.removeHandler(self._listener)
        _PACKAGE.setLevel(logging.NOTSET)
        _PACKAGE.propagate = True
        if self._progress:
            self._progress.stop()
        for file in (self._metrics, self._text, self._curves):
            with suppress(OSError):  # every line was flushed, and what could not be was told then
                file.close()

    def _write_text(self, text: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _append(self._text, f"{now} {text}\n")
        self._written = time.monotonic()


def _append(file: TextIO, text: str) -> None:
    with told(Path(file.name)):
        file.write(text)
        file.flush()


def logged(file: Path, step: int) -> dict[str, Any]:
    """The metrics of a step that are on record."""
    found: dict[str, Any] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError, RecursionError):  # half a line of a killed run
                row = json.loads(line)
                if isinstance(row, dict) and row.get("step") == step:
                    found |= row
    return found


def _curves(directory: Path, purge_step: int) -> SummaryWriter:
    """TensorBoard's writer, made without PyTorch: it would load that to know its arrays, for two seconds of every start
    and 200 MB."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # importing it fails now, as where it is not installed
    try:
        from tensorboardX import SummaryWriter
    finally:
        if absent:
            del sys.modules["torch"]
    return SummaryWriter(str(directory), purge_step=purge_step)


def drop_metrics_after(file: Path, step: int) -> None:
    """Removes what a killed run wrote after the checkpoint it is continued from, a half-written line included."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    write_lines(file, kept)


def _json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _show(name: str, value: float) -> str:
    return f"{value:,.0f} tokens/s" if name == "tokens_per_second" else f"{name} {value:.4f}"
