"""The child's side of `tl_jax.tooluse.environments.process`, which says what its limits are good for.

Runs as a process of its own: ``python -m tl_jax.tooluse.environments.python_worker``. The first line on stdin says what
to load and the limits; every other line is a call, ``{"name": ..., "arguments": {...}}``. Each is answered by one line
on stdout, a JSON string: empty when everything is loaded, or why it could not be; then the results.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, BinaryIO

MAX_RESULT = 20_000
"""Characters; a longer result is cut and says so."""

_REFUSED = (
    "socket.",
    "subprocess.",
    "pty.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.kill",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "os.utime",
)
"""How the names of audit events begin (https://docs.python.org/3/library/audit_events.html) that no tool may cause."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Answers calls until stdin ends."""
    requests, replies = _private_pipes()

    def reply(text: str) -> None:
        replies.write(json.dumps(text).encode() + b"\n")
        replies.flush()

    setup = json.loads(requests.readline())
    try:
        _limit(setup["memory_mb"])
        functions = {name: _load(*place) for name, place in setup["functions"].items()}
    except BaseException as error:
        return reply(_described(error))
    reply("")
    for line in requests:
        _limit_cpu(setup["seconds"])
        reply(_answer(functions, **json.loads(line)))


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Our ends of the pipes. What tools print, or read from stdin, goes to and comes from nowhere."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return requests, replies


def _limit(memory_mb: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        from tl_jax.tooluse.environments import privileges  # by ctypes, which not every Python has

        privileges.leave_network()
        privileges.drop_capabilities()
        privileges.only_read()
    sys.addaudithook(_refuse)


def _limit_cpu(seconds: float) -> None:
    """Ends a call that goes on although nobody is left to watch the clock; threads on all cores are no reason to."""
    budget = time.process_time() + (seconds + 1) * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (int(budget) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook. Python calls it before it does any of these things; it cannot be removed."""
    if event.startswith(_REFUSED):
        raise PermissionError(f"a tool may not do this: {event}")
    if event == "open" and arguments[2] & _WRITES:
        raise PermissionError("a tool may not write files")


def _load(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = attrgetter(name)(importlib.import_module(module))
    return found


def _answer(functions: Mapping[str, Callable[..., Any]], name: str, arguments: Mapping[str, Any]) -> str:
    """The result of a call, whatever happens."""
    if name not in functions:
        return f"Error: unknown tool {name[:80]!r}"
    try:
        text = _as_text(functions[name](**arguments))
    except BaseException as error:  # SystemExit too: one call must not end the episode
        text = f"Error: {_described(error)}"
    return text if len(text) <= MAX_RESULT else f"{text[:MAX_RESULT]}\n[cut here; all of it: {len(text)} characters]"


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _described(error: BaseException) -> str:
    message = str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


if __name__ == "__main__":
    main()
