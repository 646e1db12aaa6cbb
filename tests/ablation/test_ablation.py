"""``tl-jax ablation`` from end to end: a tiny model is trained, answers, and the report has its answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ablation.small import RIGHT, plan_of, write_ablation
from tests.thoroughness import first_then_thorough
from tests.tiny import write_model
from tests.xla_flags import xla_flags
from tl_jax.ablation.run import spent

COMMAND = (sys.executable, "-m", "tl_jax.cli", "ablation", "--config")


def write(home: Path) -> Path:
    """Two variants of one seed, of which IRM goes on from SFT."""
    computed = {"dtype": "float32", "remat": "none", "scan_layers": False}
    rl: dict[str, Any] = {"algorithm": {"estimator": "grpo"}, "group_size": 2, "batch_size": 4, "steps": 1}
    rl |= {"data": {"max_prompt_length": 192, "eval_share": 0}, "sampling": {"max_new_tokens": 4}, "eval_prompts": 0}
    file = write_ablation(
        home,
        variants=["SFT", "IRM"],
        seeds=[0],
        sft={
            "files": str(home / "sft.yaml"),
            "settings": {"model": computed, "data": {"max_length": 192, "batch_size": 1}, "steps": 2, "log_every": 1},
        },
        rl={"files": str(home / "rl.yaml"), "settings": {"model": computed, "log_every": 1, **rl}},
        eval={"dtype": "float32", "max_new_tokens": 4, "batch_size": 4},
        model=str(write_model(home, [RIGHT, "go home", "Function: def User Assistant Output"] * 9)),
    )
    rows = [json.loads(line) for line in (home / "train.jsonl").read_text().splitlines()]
    many = [{**row, "id": f"t{n}"} for row in rows for n in range(8)]
    (home / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("jobs", first_then_thorough([2, 1]))
def test_an_ablation_from_end_to_end(jobs: int, tmp_path: Path) -> None:
    """Killed after its first stage and begun again. One job at a time makes the same figures as two: what is asserted
    of them depends on no number of jobs."""
    file = write(tmp_path)
    plan = plan_of(file)
    command = [*COMMAND, str(file), "--jobs", str(jobs)]
    environment = {**os.environ, "XLA_FLAGS": xla_flags(), "COLUMNS": "160"}
    process = subprocess.Popen(command, start_new_session=True, env=environment)
    until = time.monotonic() + 300
    while not spent(plan.base).done:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(240) == 128 + signal.SIGTERM
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert again.returncode == 0, again.stderr
    assert f"[{len(plan.stages)}/{len(plan.stages)}]" in again.stderr
    assert spent(plan.base).starts == 1
    assert "IRM added to SFT" in again.stdout
    sft, rl = plan.trainings["IRM", 0]
    assert yaml.safe_load((rl.directory / "config.yaml").read_text())["model"]["path"] == str(sft.directory)
    report = json.loads((plan.config.out / "report.json").read_text())
    assert report["missing"] == []
    assert set(report["variants"]) == {"SFT", "IRM"}
    summary = json.loads((plan.evaluations["IRM", 0].directory / "summary.json").read_text())
    assert report["cases"] == summary["cases"] == 4
    for metric in ("TS", "PI", "CF"):  # as the evaluation itself says
        assert report["variants"]["IRM"]["figures"][metric]["mean"] == summary[metric]
    assert [len(points["SFT"]) for name, points in report["curves"].items() if name == "sft: loss"] == [2]
