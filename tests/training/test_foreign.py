"""Run directories of somebody else: the code that their settings name is not run by whoever uses the model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from tests.training.test_run import INIT, open_run
from tl_jax.config import SftConfig
from tl_jax.data.codec import Codec
from tl_jax.model.hf import export_hf
from tl_jax.model.store import open_model
from tl_jax.plugins import resolve


def test_code_that_a_run_directory_names_is_not_imported(
    sft_config: Callable[..., SftConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\ndef f(): ...\n")
    theirs = open_run(sft_config(loss="evil:f", data__mae__rule="evil:f"))
    state, _ = theirs.begin(INIT)
    kept = jax.device_get(replace(state, trainable=state.trainable))
    with theirs:
        theirs.save(2, kept, {"at": 2})
    assert "evil:f" in (theirs.directory / "config.yaml").read_text()

    model = open_model(theirs.directory)
    Codec.open("paper", model.tokenizer_dir)
    export_hf(model.params, model.config, model.tokenizer_dir, tmp_path / "export")
    ours = open_run(sft_config())
    ours.begin(INIT)
    with ours:
        pass
    assert "with other settings than before: data.mae.rule, loss" in (ours.directory / "log.txt").read_text()
    assert "evil" not in sys.modules
    assert not (tmp_path / "imported").exists()

    resolve("evil:f")  # a command of one's own does
    assert (tmp_path / "imported").exists()
