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

from tl_jax.model.directory import MARKER, NAMED_TEMPLATES, CheckpointError, copy_tokenizer, new_directory, system_error

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


def test_links_out_of_a_model_are_not_copied(tmp_path: Path) -> None:
    """An export is handed out, and would hand out what a model from outside only points to."""
    model, secret = tmp_path / "model", tmp_path / "secret"
    (model / NAMED_TEMPLATES).mkdir(parents=True)
    secret.write_text("key")
    (model / "real.json").write_text("{}")
    (model / "tokenizer.json").symlink_to("real.json")  # inside
    copy_tokenizer(model, tmp_path / "copy")
    assert (tmp_path / "copy" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "copy" / "tokenizer.json").is_symlink()
    for name in ("generation_config.json", f"{NAMED_TEMPLATES}/rag.jinja"):
        (model / name).symlink_to(secret)
        with pytest.raises(CheckpointError, match=f"{name}: is a link to {secret}, outside"):
            copy_tokenizer(model, tmp_path / "other")
        assert not (tmp_path / "other").exists()
        (model / name).unlink()


def test_the_links_of_a_download_cache_are_followed(tmp_path: Path) -> None:
    """huggingface_hub keeps files in ``blobs`` and a directory of links for each revision."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1f2e", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "c3d4").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/c3d4")
    copy_tokenizer(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy" / "tokenizer.json").read_text() == "{}"
    (snapshot / "generation_config.json").symlink_to(tmp_path / "copy" / "tokenizer.json")
    with pytest.raises(CheckpointError, match="outside"):
        copy_tokenizer(snapshot, tmp_path / "other")


def test_what_the_system_said_is_found_in_what_orbax_raises() -> None:
    full = OSError(28, "No space left on device", "/there")
    hidden = ValueError("state")
    hidden.__context__ = full
    for error in (full, hidden, ValueError("Failed to write 9 bytes to file 7: [os_error_code='28' x='1']")):
        found = system_error(error)
        assert found
        assert found.strerror == "No space left on device"
    circular = ValueError("another shape")
    circular.__context__ = circular
    assert system_error(circular) is None
