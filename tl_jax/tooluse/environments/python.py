"""Python functions as the tools of an episode, run in a process of their own behind limits.

The limits protect from a tool function misled by arguments that a model wrote: one that never ends, eats all memory,
writes or removes files, opens connections or starts programs. They are no protection from hostile tool code, and
reading files is not prevented. Text of the model reaches functions as JSON values only, never as code, a path to
import or a name to look up anywhere but among the tools.

The worker is `tl_jax.tooluse.environments.python_worker`; docs/environments.md has the list of limits.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

from tl_jax.errors import UserError
from tl_jax.plugins import resolve
from tl_jax.tooluse.schema import Call, Case, Tool
from tl_jax.tooluse.text.function_schema import tool_schema

START_SECONDS = 60.0
"""How long a worker may take to import the tools."""

_WORKER = "tl_jax.tooluse.environments.python_worker"
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME", "TZ")
"""Environment variables that a worker gets: what Python may need to start. Keys and tokens are none of its business."""


class PythonTools:
    """An `Environment` whose tools are Python functions. Episodes side by side need one each.

    Results: a text is given as it is, everything else as JSON, or as ``repr`` prints it where JSON has no form for it.
    An exception becomes ``Error: ValueError: message``. Results are cut at `python_worker.MAX_RESULT` characters.

    Args:
        functions: importable functions, or dotted paths such as ``my_tools:search``; `tool_schema` reads them.
        seconds: how long a call may take. One that takes longer ends the worker, and the next call gets a new one, in
            which the state of the tools begins anew.
        memory_mb: the address space of the worker, Python and the imported modules included.

    Attributes:
        tools: the functions as tools.

    Raises:
        UserError: a function that cannot be imported by its name or is no tool, two of the same name, or a system
            without such limits (Windows).
    """

    def __init__(
        self, functions: Sequence[Callable[..., Any] | str], seconds: float = 5.0, memory_mb: int = 512
    ) -> None:
        if find_spec("resource") is None:
            raise UserError("PythonTools needs limits for processes, which this system does not have; use Linux")
        loaded = [resolve(function) if isinstance(function, str) else function for function in functions]
        places = [_place(function) for function in loaded]
        self.tools: tuple[Tool, ...] = tuple(map(tool_schema, loaded))
        by_name = {tool.name: place for tool, place in zip(self.tools, places, strict=True)}
        if len(by_name) < len(places):
            raise UserError(f"two tools have the same name: {', '.join(tool.name for tool in self.tools)}")
        self._setup = {"functions": by_name, "seconds": seconds, "memory_mb": memory_mb}
        self._worker: _Worker | None = None

    def reset(self, case: Case) -> Case:
        """Begins an episode in a fresh worker. Returns the case with these tools instead of its own."""
        self.close()
        self._worker = _Worker(self._setup)  # starts while the model thinks
        return replace(case, tools=self.tools)

    def step(self, call: Call) -> tuple[str, bool]:
        """The result of a call; an episode is never over.

        Raises:
            UserError: the tools cannot be loaded in a worker.
        """
        worker, self._worker = self._worker or _Worker(self._setup), None
        try:
            result = worker.ask(call)
        except (TimeoutError, ChildProcessError) as error:
            return f"Error: {type(error).__name__}: {error}", False
        self._worker = worker  # any exception has left it behind, for its answers would be those of earlier calls
        return result, False

    def close(self) -> None:
        """Ends the worker."""
        if self._worker:
            self._worker.stop()
        self._worker = None

    def __enter__(self) -> PythonTools:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Worker:
    """A worker process. It is killed with everything it started when `stop` is called or this object goes."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
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
        self._seconds: float = setup["seconds"]
        self._ready = False
        self._send(setup)

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


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    """Module and qualified name by which a worker can import the function."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    try:
        found = attrgetter(str(name))(sys.modules[str(module)])
    except (KeyError, AttributeError):
        found = None
    if found != function or module == "__main__":
        raise UserError(
            f"{module}.{name or function!r}: a worker cannot import it; put it into a module, as a function"
        )
    return str(module), str(name)


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
