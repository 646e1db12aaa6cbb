"""The launch files, with stand-ins for the cluster's own commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"


SRUN = """#!/bin/bash
# ends with $CODE by itself; $TOLD: only when scancel has told the tasks, after SLURM has told the script
echo srun "$@" >> called
[ -n "$TOLD" ] || exit "$CODE"
trap 'sleep 0.1; exit "$CODE"' USR2
trap 'echo killed >> called; exit 137' TERM
echo $$ > tasks
kill -USR1 $PPID
while true; do sleep 0.02; done
"""
SCANCEL = """#!/bin/bash
echo scancel "$@" >> called
kill -USR2 "$(cat tasks)"
"""
SCONTROL = """#!/bin/bash
echo scontrol "$@" >> called
"""


@pytest.mark.parametrize(
    ("told", "code", "requeued"),
    [
        *((False, code, False) for code in (0, 1, 2, 130, 143)),  # 143: srun has ended tasks, because one has failed
        *((True, 143, True), (True, 2, False), (True, 0, False)),
    ],
)
def test_slurm_asks_for_a_stopped_job_to_be_queued_again(tmp_path: Path, told: bool, code: int, requeued: bool) -> None:
    home, commands = tmp_path / "home", tmp_path / "bin"
    (home / "launch").mkdir(parents=True)
    (home / "launch" / "gpu.env").write_text((LAUNCH / "gpu.env").read_text())
    commands.mkdir()
    for name, script in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(home),
        "SLURM_JOB_ID": "17",
        "CODE": str(code),
        "TOLD": "1" if told else "",
    }
    command = ["bash", str(LAUNCH / "slurm.sh"), "sft", "--config", "a b.yaml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == code, done.stderr
    called = (home / "called").read_text().splitlines()
    assert called[0].endswith(
        ".venv/bin/tl-jax sft checkpoint.grace_seconds=120 --config a b.yaml distributed=on checkpoint.resume=auto"
    )
    # as many seconds as the run is told; to the script alone, so that the run is told once
    assert "#SBATCH --signal=B:USR1@120\n" in (LAUNCH / "slurm.sh").read_text()
    assert called[1:] == ["scancel --signal=TERM 17"] * told + ["scontrol requeue 17"] * requeued


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
