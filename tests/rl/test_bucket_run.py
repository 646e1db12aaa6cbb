"""Reinforcement learning in a bucket: told to stop on one machine, it goes on on another as if nothing had been."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.remote import contents
from tests.rl.small_run import ppo_config, same
from tests.runs import metrics
from tl_jax.addresses import place_of
from tl_jax.bucket import Folder
from tl_jax.config import RlConfig
from tl_jax.model.run_directory import checkpoints_in, checkpoints_of, fetched
from tl_jax.model.store import open_model
from tl_jax.rl.train import run_rl
from tl_jax.run_files import LOCK_FILE
from tl_jax.tooluse.schema import Case

CALLS = {"made": 0, "stops_at": 0}


def stops_once(prediction: str, case: Case) -> float:
    """Rewards short answers; during one call the run is told to end."""
    CALLS["made"] += 1
    if CALLS["made"] == CALLS["stops_at"]:
        signal.raise_signal(signal.SIGTERM)
    return -len(prediction) / 100


def config_of(run_dir: Path | str, model: Path | str, cases: Path | str) -> RlConfig:
    return ppo_config(
        run_dir,
        model,
        cases,
        reward=f"{__name__}:stops_once",
        steps=2,
        log_every=1,
        batch_size=4,
        eval_prompts=0,
        algorithm__estimator="grpo",
        algorithm__kl_coef=0,
        algorithm__minibatches=1,
        group_size=2,
        checkpoint__every=1,
        sampling__max_new_tokens=8,
    )


@pytest.mark.slow
@pytest.mark.thorough
def test_told_to_stop_it_goes_on_elsewhere_bit_for_bit(
    folder: Folder, model_dir: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machines have nothing in common but the bucket, where model and data are, too."""
    CALLS.update(made=0, stops_at=0)
    run_rl(config_of(tmp_path / "run", model_dir, cases))
    folder.upload(cases, "cases.jsonl")
    for file in model_dir.iterdir():
        folder.upload(file, f"hf/{file.name}")
    address = f"{folder.address}/run"
    for machine, stops_at, reached in (("first", 2, 1), ("second", 0, 2)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        CALLS.update(made=0, stops_at=stops_at)
        config = config_of(address, f"{folder.address}/hf", f"{folder.address}/cases.jsonl")
        result = run_rl(config)
        assert (result["step"], result.get("stopped_by")) == (reached, "SIGTERM" if stops_at else None)
        assert max(checkpoints_in(checkpoints_of(config.run_dir))) == reached
        assert folder.read(f"run/{LOCK_FILE}") == b""
        shutil.rmtree(tmp_path / machine)
    assert "the checkpoint is saved" in (log := contents(address)["log.txt"].decode())
    assert f"continuing {address} from step 1 of 2" in log
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/metrics.jsonl").write_bytes(contents(address)["metrics.jsonl"])
    assert metrics(tmp_path / "ours") == metrics(tmp_path / "run")
    assert same(open_model(fetched(place_of(address, "models"))).params, open_model(tmp_path / "run").params)
