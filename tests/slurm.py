"""As much of SLURM as launch/slurm.sh needs: `submit` for sbatch, and srun, scancel and scontrol on its PATH.

The job's two tasks are processes of this machine, and have SLURM's own variables, by which JAX finds the other one.
Options are read as the manual of sbatch (https://slurm.schedmd.com/sbatch.html) writes them.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_PORT = 65535 - 2**12 + 1
"""JAX adds the job's number to it, modulo 2**12, for the port at which the tasks meet."""

SRUN = """#!/bin/bash
echo srun "$@" >> called
while [[ "$1" == --* ]]; do shift; done
export SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_NUM_NODES=1 SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2
rm -f tasks
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" 2> "task$rank.txt" &
  echo $! >> tasks
done
code=0
for task in $(cat tasks); do wait "$task" || code=$?; done
exit "$code"
"""
SCANCEL = """#!/bin/bash
echo scancel "$@" >> called
kill -TERM $(cat tasks)
"""
SCONTROL = """#!/bin/bash
echo scontrol "$@" >> called
"""


def options() -> argparse.ArgumentParser:
    """Those of sbatch that a script of ours may use; another one, or a value of another form, is an error."""
    parser = argparse.ArgumentParser("sbatch", allow_abbrev=False)
    for name in ("nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--job-name", type=partial(_written, r"[\w-]+"))
    parser.add_argument("--time", type=partial(_written, r"(\d+-)?\d+(:\d\d(:\d\d)?)?"))
    parser.add_argument("--signal", type=partial(_written, r"([RB]:)?\w+(@\d{1,5})?"))
    parser.add_argument("--open-mode", choices=["append", "truncate"])
    parser.add_argument("--output", type=partial(_written, r"([\w./-]|%[Aajx%])+"))
    parser.add_argument("--requeue", action="store_true")
    return parser


def _written(pattern: str, value: str) -> str:
    if not re.fullmatch(pattern, value):
        raise argparse.ArgumentTypeError(f"{value!r} is not of the form {pattern}")
    return value


def directives(script: Path) -> argparse.Namespace:
    """What the script's ``#SBATCH`` lines say. SLURM reads them up to the first command: one below is an error."""
    lines = script.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    words = [line.removeprefix("#SBATCH ") for line in lines[:first] if line.startswith("#SBATCH")]
    return options().parse_args(words)


def install(home: Path, *, srun: str = SRUN, scancel: str = SCANCEL) -> None:
    """Makes ``home`` a directory that jobs are submitted from: our launch files, a ``tl-jax``, SLURM's commands."""
    shutil.copytree(ROOT / "launch", home / "launch")
    ours = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tl_jax.cli "$@"\n'
    for name, script in {"srun": srun, "scancel": scancel, "scontrol": SCONTROL, ".venv/bin/tl-jax": ours}.items():
        file = home / (name if "/" in name else f"bin/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script)
        file.chmod(0o755)


def submit(home: Path, *arguments: str, job: int = 17, **environment: str) -> subprocess.Popen[str]:
    """``sbatch launch/slurm.sh ...`` from ``home``, which `install` has made: SLURM runs a copy of the script."""
    script = shutil.copy(home / "launch/slurm.sh", home / "slurm_script")
    path = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        ["bash", script, *arguments],
        env={**os.environ, **path, "SLURM_SUBMIT_DIR": str(home), "SLURM_JOB_ID": str(job), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )


def called(home: Path) -> list[str]:
    """How SLURM's commands were called, in their order."""
    return (home / "called").read_text().splitlines()


def free_job() -> int:
    """A job's number, at whose port nobody listens."""
    for job in range(os.getpid() % 2**11, 2**12):
        with socket.socket() as free:
            if free.connect_ex(("127.0.0.1", FIRST_PORT + job)):
                return job
    raise OSError("no port is free")
