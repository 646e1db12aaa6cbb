from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tl_jax.data import watch
from tl_jax.data.parts import EncodedPart
from tl_jax.data.report import DataReport


@pytest.mark.parametrize(("read", "share"), [(50, ", 50 %"), (0, "")])
def test_without_a_terminal_a_line_says_how_far_it_is(
    read: int, share: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    (tmp_path / "data").write_bytes(bytes(200))
    parts = [EncodedPart(report=DataReport(trajectories=1000), bytes_read=read) for _ in range(4)]
    clock = itertools.count(0, 40)
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(clock))
    assert list(watch.watched(parts, tmp_path / "data", "DATA\x1b[31m")) == parts
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # every 60 s
    assert lines[0] == f"tl-jax: DATA\\u{{1b}}[31m: 2,000 trajectories encoded, 25/s{share}"
