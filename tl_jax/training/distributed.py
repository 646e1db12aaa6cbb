"""Several processes as one machine: `jax.distributed`, started only when asked for or when a cluster is detected."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from tl_jax.cpu_devices import give_threads
from tl_jax.errors import UserError

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def initialise(mode: Literal["auto", "on", "off"]) -> None:
    """Joins the other processes, if that is not done already; call before anything touches a device.

    ``auto`` joins when `detect` finds a cluster, ``on`` always. A TPU pod on plain Compute Engine machines announces
    itself by its metadata server only, so it needs ``on``; there, as on SLURM and GKE, JAX finds the rest itself.

    Raises:
        UserError: the environment is incomplete, or the other processes were not found.
    """
    give_threads()
    kind = detect(os.environ)
    if mode == "off" or (mode == "auto" and kind is None) or jax.distributed.is_initialized():
        return
    try:
        if kind == "explicit":
            address, count, index = (os.environ[name] for name in _EXPLICIT)
            jax.distributed.initialize(address, int(count), int(index))
        else:
            jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"distributed={mode}: the processes could not be joined: {error}. Set {', '.join(_EXPLICIT)} for each "
            "process, or distributed=off for a single one"
        ) from error


def detect(environment: Mapping[str, str]) -> Literal["explicit", "slurm", "tpu"] | None:
    """Which kind of cluster the environment variables speak of, if it has more than one process.

    Raises:
        UserError: only some of the variables that describe a cluster explicitly are set.
    """
    given = [name for name in _EXPLICIT if environment.get(name)]
    if len(given) == len(_EXPLICIT):
        return "explicit"
    if "JAX_NUM_PROCESSES" in given or "JAX_PROCESS_ID" in given:
        missing = [name for name in _EXPLICIT if name not in given]
        raise UserError(f"{' and '.join(given)} set, but not {' and '.join(missing)}; set all three or none")
    # Set by srun for its tasks only: a shell in an allocation is one process, whatever SLURM_NTASKS says.
    if "SLURM_JOB_ID" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return "slurm"
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") or int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1:
        return "tpu"
    return None


def is_main() -> bool:
    """True in the one process that writes logs and files."""
    return jax.process_index() == 0


class SharedError(Exception):
    """Raised in all processes at the same place."""


class MainProcessError(SharedError):
    """What the main process was to do for all failed there; its own error says why."""


_SHARED = "all processes have stopped here"
"""Note of an error of the main process, while the others raised `MainProcessError`."""


def is_shared(error: BaseException) -> bool:
    """Whether all processes were ended by ``error`` at the same place, so that they can do something together still."""
    everywhere = isinstance(error, SharedError) or _SHARED in getattr(error, "__notes__", ())
    return everywhere or jax.process_count() == 1


def agreed(make: Callable[[], Any]) -> Any:
    """What ``make`` gives in the main process, a JSON value, in every process: only there is it called.

    For what could differ between processes, such as the results of a tool; all of them must come here together.

    Raises:
        MainProcessError: ``make`` failed in the main process; that one raises its own error.
    """
    if jax.process_count() == 1:
        return make()
    failure: Exception | None = None
    data = b""
    if is_main():
        try:
            data = json.dumps(make()).encode()
        except Exception as error:  # the others would wait for ever
            failure = error
    size = int(multihost_utils.broadcast_one_to_all(np.int64(-1 if failure else len(data))))
    if failure:
        failure.add_note(_SHARED)
        raise failure
    if size < 0:
        raise MainProcessError("the main process failed; its own message says why")
    buffer = np.frombuffer(data, np.uint8) if is_main() else np.zeros(size, np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(buffer).tobytes())
