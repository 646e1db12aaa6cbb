"""The launch files, with stand-ins for the cluster's own commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (2, False), (130, False), (143, True)])
def test_slurm_asks_for_a_stopped_job_to_be_queued_again(tmp_path: Path, code: int, requeued: bool) -> None:
    home, commands = tmp_path / "home", tmp_path / "bin"
    (home / "launch").mkdir(parents=True)
    (home / "launch" / "gpu.env").write_text((LAUNCH / "gpu.env").read_text())
    commands.mkdir()
    for name, ends in (("srun", code), ("scontrol", 0)):
        (commands / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/called"\nexit {ends}\n')
        (commands / name).chmod(0o755)
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(home),
        "SLURM_JOB_ID": "17",
    }
    command = ["bash", str(LAUNCH / "slurm.sh"), "sft", "--config", "a b.yaml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    called = (tmp_path / "called").read_text().splitlines()
    assert called[0].endswith(
        ".venv/bin/tl-jax sft checkpoint.grace_seconds=120 --config a b.yaml distributed=on checkpoint.resume=auto"
    )
    assert "#SBATCH --signal=TERM@120\n" in (LAUNCH / "slurm.sh").read_text()  # the same seconds
    assert called[1:] == (["scontrol requeue 17"] if requeued else [])


def test_a_jobset_restarts_what_exits_with_143_as_often_as_it_must() -> None:
    jobset = yaml.safe_load((LAUNCH / "gke.yaml").read_text())["spec"]
    job = jobset["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [143])
    assert rule["onExitCodes"]["containerName"] in [it["name"] for it in job["template"]["spec"]["containers"]]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # Kubernetes takes a podFailurePolicy with no other
    (container,) = job["template"]["spec"]["containers"]
    assert f"checkpoint.grace_seconds={job['template']['spec']['terminationGracePeriodSeconds']}" in container["args"]
    (restart,) = jobset["failurePolicy"]["rules"]
    assert restart == {"action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]}
