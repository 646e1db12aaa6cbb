"""Processes that tests start: training as a user does, alone or several as one machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.xla_flags import xla_flags
from tl_jax.config import RlConfig, SftConfig, to_yaml

SECONDS = 300
"""How long a process may take, compilation included."""

SELDOM = "import gc; gc.set_threshold(20_000, 50, 100)"
TL_JAX = ("-c", f"{SELDOM}; from tl_jax.cli import main; main(prog_name='tl-jax')")
"""The command, which looks for garbage as seldom as tests do: tracing takes a tenth less."""


def launch(
    config: SftConfig | RlConfig, *overrides: str, devices: int = 1, **environment: str
) -> subprocess.Popen[str]:
    """``tl-jax sft`` or ``tl-jax rl`` in a process of its own."""
    file = config.run_dir.with_suffix(".yaml")
    file.write_text(to_yaml(config))
    command = "sft" if isinstance(config, SftConfig) else "rl"
    return run_python(*TL_JAX, command, "--config", str(file), *overrides, XLA_FLAGS=xla_flags(devices), **environment)


def launch_together(config: SftConfig | RlConfig, count: int = 2, **environment: str) -> list[subprocess.Popen[str]]:
    """The same in ``count`` processes of one device each, which find each other."""
    # One thread each: two collectives at once could begin in another order in each process, and wait for ever.
    return [launch(config, **cluster, NPROC="1", **environment) for cluster in clusters(count)]


def clusters(count: int) -> list[dict[str, str]]:
    """The variables that make ``count`` processes one machine, for each of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
    return [{**shared, "JAX_PROCESS_ID": str(rank)} for rank in range(count)]


def run_python(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Python with ``arguments``, in the root of the repository, what it prints kept."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Waits for the end, which has to be ``code``; what was printed on stderr."""
    return finish_together([process], code)[0]


def finish_together(processes: Sequence[subprocess.Popen[str]], code: int = 0) -> list[str]:
    """The same of several; none outlives its test."""
    try:
        shown = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(shown)
    return shown
