"""When several processes become one machine."""

from __future__ import annotations

import jax
import pytest

from tests.processes import clusters, run_python
from tl_jax.errors import UserError
from tl_jax.training.distributed import detect, initialise

EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, None),
        (EXPLICIT, "explicit"),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}, "slurm"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # batch script or shell, no srun
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}, "tpu"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, "tpu"),  # slices of one host
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "1"}, None),
    ],
)
def test_detection(environment: dict[str, str], kind: str | None) -> None:
    assert detect(environment) == kind


def test_half_a_description_is_an_error() -> None:
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES set, but not JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID"):
        detect({"JAX_NUM_PROCESSES": "2"})


def test_one_process_stays_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    initialise("auto")
    monkeypatch.setattr("os.environ", EXPLICIT)
    initialise("off")
    assert not jax.distributed.is_initialized()


def test_on_without_a_cluster_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    with pytest.raises(UserError, match=r"distributed=on: .*JAX_COORDINATOR_ADDRESS"):
        initialise("on")


SCRIPT = """
import sys
from tl_jax.training.distributed import agreed, initialise, is_main
initialise("on")
print(agreed(lambda: {"from": "main" if is_main() else "another", "text": "Tromsø"}), flush=True)
agreed(lambda: 1 / 0)
"""


def test_processes_agree_and_fail_together() -> None:
    """What the main process finds is what all get, and its failure leaves nobody waiting."""
    both = [run_python("-c", SCRIPT, XLA_FLAGS="", **cluster) for cluster in clusters(2)]
    shown = [process.communicate(timeout=120) for process in both]
    for out, _ in shown:  # after a line of the collectives' own
        assert out.splitlines()[-1] == "{'from': 'main', 'text': 'Tromsø'}"
    assert all(process.returncode != 0 for process in both)
    assert "ZeroDivisionError" in shown[0][1]
    assert "the main process failed" in shown[1][1]
