"""Directories with a model: there whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_jax.model.directory import MARKER, CheckpointError, new_directory

KILLED = """
import os, signal, sys
from pathlib import Path
from tl_jax.model import directory
moment, out, source = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if moment == "moved":
    rename = Path.rename
    directory.Path.rename = lambda self, target: kill() if self.suffix == ".new" else rename(self, target)
if moment == "done":
    directory.shutil.rmtree = kill
with directory.new_directory(out, "huggingface", source) as new:
    (new / "config.json").write_text("new")
    if moment == "writing":
        kill()
"""


@pytest.mark.parametrize(("moment", "kept"), [("writing", "old"), ("moved", "old"), ("done", "new")])
def test_what_a_killed_export_leaves_is_cleaned_up_by_the_next(tmp_path: Path, moment: str, kept: str) -> None:
    out = tmp_path / "out"
    with new_directory(out, "huggingface", tmp_path / "source") as new:
        (new / "config.json").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, out, tmp_path / "source"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    with pytest.raises(ZeroDivisionError), new_directory(out, "huggingface", tmp_path / "source"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["out"]
    assert (out / "config.json").read_text() == kept
    with new_directory(out, "huggingface", tmp_path / "source") as one:  # what is being written stays
        with pytest.raises(ZeroDivisionError), new_directory(out, "huggingface", tmp_path / "source"):
            1 / 0  # noqa: B018
        assert one.is_dir()


@pytest.mark.parametrize("files", [3, ["a", {}], {"config.json": 1}, None])
def test_a_marker_that_names_no_files_is_not_believed(tmp_path: Path, files: Any) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"kind": "huggingface", "files": files}))
    with pytest.raises(CheckpointError, match="not overwritten"), new_directory(tmp_path, "huggingface", tmp_path):
        pass
