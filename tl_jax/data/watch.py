"""A bar on the terminal while much data is encoded, or now and then a line where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tl_jax.data.parts import EncodedPart
from tl_jax.terminal import SafeConsole, say
from tl_jax.tooluse.readers.packed import is_packed

_EVERY = 60.0
"""Seconds between two lines."""


def watched(parts: Iterable[EncodedPart], file: Path, name: str) -> Iterator[EncodedPart]:
    """The parts, one by one, while it is shown how many trajectories there were.

    Args:
        file: where they come from.
        name: what people call it.
    """
    console = SafeConsole(stderr=True)
    total = None if file.is_dir() or is_packed(file) else file.stat().st_size
    columns: list[ProgressColumn] = [BarColumn(), TaskProgressColumn(), TextColumn("{task.description}")]
    columns += [TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn()]
    began = said = time.monotonic()
    done = read = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for part in parts:
            yield part
            done, read = done + part.report.trajectories, read + part.bytes_read
            now = time.monotonic()
            text = f"{name}: {done:,} trajectories encoded, {done / max(now - began, 1e-9):,.0f}/s"
            known = total if read else None  # a file that is no JSON lines, or that one process reads
            bar.update(task, description=text, total=known, completed=read)
            if not console.is_terminal and now - said >= _EVERY:
                share = f", {100 * read / total:.0f} %" if total and read else ""
                say(f"tl-jax: {text}{share}", err=True)
                said = now
