"""A process that runs functions behind limits: the parent's side. `python_worker` is the child's.

The limits protect from a function misled by arguments that a model wrote: one that never ends, eats all memory, writes
or removes files, opens connections or starts programs. They are no protection from hostile code, and reading files is
not prevented; docs/environments.md says what the kernel holds C code to. Text of the model reaches functions as JSON
values only, never as code, a path to import or a name to look up anywhere but among the functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Call

START_SECONDS = 60.0
"""How long a worker may take to import the functions."""

_WORKER = "tl_jax.tooluse.environments.python_worker"
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME", "TZ")
"""Environment variables that a worker gets: what Python may need to start. Keys and tokens are none of its business."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use.

    Attributes:
        seconds: of a call. One that takes longer ends the worker.
        memory_mb: the address space of the worker, Python and the imported modules included.

    Raises:
        UserError: a system without such limits (Windows).
    """

    seconds: float = 5.0
    memory_mb: int = 512

    def __post_init__(self) -> None:
        if find_spec("resource") is None:
            raise UserError("tools that run need limits for processes, which this system does not have; use Linux")


class Worker:
    """A worker process. It is killed with everything it started when `stop` is called or this object goes.

    Args:
        functions: name -> module and qualified name, by which the worker imports it.
    """

    def __init__(self, functions: Mapping[str, tuple[str, str]], limits: Limits) -> None:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _WORKER],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.stop = weakref.finalize(self, _kill, process)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._requests, self._replies = process, process.stdin, process.stdout.fileno()
        self._arrivals = select.poll()
        self._arrivals.register(self._replies, select.POLLIN)
        self._seconds = limits.seconds
        self._ready = False
        self._send({"functions": dict(functions), "seconds": limits.seconds, "memory_mb": limits.memory_mb})

    def ask(self, call: Call) -> str:
        """The result of a call.

        Raises:
            TimeoutError: it took too long; the worker is gone.
            ChildProcessError: the worker ended.
            UserError: it could not begin.
        """
        if not self._ready:
            self._wait_until_ready()
        self._send({"name": call.name, "arguments": dict(call.arguments)})
        return self._receive(self._seconds)

    def _wait_until_ready(self) -> None:
        try:
            problem = self._receive(START_SECONDS)
        except (TimeoutError, ChildProcessError) as error:
            problem = str(error)
        if problem:
            raise UserError(f"the tools cannot be loaded under their limits: {problem}")
        self._ready = True

    def _send(self, row: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # `_receive` will find that the worker has ended
            self._requests.write(json.dumps(row).encode() + b"\n")
            self._requests.flush()

    def _receive(self, seconds: float) -> str:
        """The next line from the worker; without one it is killed, and an exception says why."""
        line, deadline = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            if not self._arrivals.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self.stop()
                raise TimeoutError(f"no answer within {seconds:g} seconds")
            piece = os.read(self._replies, 2**16)
            if not piece:
                self.stop()
                raise ChildProcessError(f"the process of the tools ended with exit status {self._process.returncode}")
            line += piece
        text: str = json.loads(line)
        return text


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
        "PYTHONHASHSEED": "0",  # sets come out in the same order in every episode
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",  # NumPy's threads would take up the memory before the first call
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; macOS says so by the second
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            assert pipe
            pipe.close()
    process.wait()
