"""Functions for the tests of the sandbox: some are useful, most misbehave."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

_COUNT = 0


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


def echo(value: dict) -> Any:
    """Gives back what is under ``"value"``."""
    return value["value"]


def count() -> int:
    """How often it was called."""
    global _COUNT
    _COUNT += 1
    return _COUNT


def process() -> dict[str, Any]:
    """What a tool can see of its process."""
    return {
        "id": os.getpid(),
        "session": os.getsid(0),
        "variables": dict(os.environ),
        "network": os.readlink("/proc/self/ns/net"),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }


def unserialisable() -> object:
    """A value that JSON has no form for."""
    return {1, 2}


def long_text(length: int) -> str:
    """As many characters."""
    return "x" * length


def chatter(text: str) -> str:
    """Prints all over the place and reads from the keyboard."""
    print(text, flush=True)
    os.write(1, text.encode())
    print(text, file=sys.stderr)
    return f"read {sys.stdin.read()!r}"


def fail(message: str) -> None:
    """Raises."""
    raise LookupError(message)


def leave(status: int, politely: bool = False) -> None:
    """Ends the process, or would like to."""
    if politely:
        sys.exit(status)
    os._exit(status)


def loop() -> None:
    """Never ends."""
    while True:
        pass


def sleep(seconds: float) -> str:
    """Sleeps."""
    time.sleep(seconds)
    return "rested"


def eat_memory(megabytes: int) -> int:
    """Takes so much memory, and gives it back."""
    return len(bytearray(megabytes * 2**20))


def forbidden(what: Literal["connect", "listen", "program", "shell", "fork", "exec", "kill"]) -> str:
    """Does what no tool should do."""
    match what:
        case "connect":
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        case "listen":
            socket.socket(socket.AF_UNIX).bind("/tmp/x")
        case "program":
            subprocess.run(["true"], check=True)
        case "shell":
            os.system("true")
        case "fork":
            os.fork()
        case "exec":
            os.execv("/bin/true", ["true"])
        case "kill":
            os.kill(os.getppid(), 0)
    return "done"


def change(path: str, how: Literal["write", "append", "remove", "rename", "directory", "truncate", "database"]) -> str:
    """Changes a file."""
    match how:
        case "write":
            Path(path).write_text("changed")
        case "append":
            os.close(os.open(path, os.O_APPEND | os.O_WRONLY))
        case "remove":
            Path(path).unlink()
        case "rename":
            Path(path).rename(f"{path}.old")
        case "directory":
            Path(f"{path}.d").mkdir()
        case "truncate":
            os.truncate(path, 0)
        case "database":  # opens its file in C, unseen by Python
            sqlite3.connect(path).execute("CREATE TABLE t (x)")
    return "done"


def in_c(what: Literal["truncate", "open", "remove", "program", "signal"], path: str) -> int:
    """Does by C what the audit hook of Python does not see; 0 if it can."""
    libc, name = ctypes.CDLL(None), path.encode()
    match what:
        case "truncate":
            return int(libc.truncate(name, ctypes.c_long(0)))
        case "open":
            return min(int(libc.open(name, os.O_WRONLY | os.O_TRUNC)), 0)
        case "remove":
            return int(libc.unlink(name))
        case "program":
            return int(libc.system(b"true"))
        case "signal":
            return int(libc.kill(os.getppid(), 0))


def read(path: str) -> str:
    """Reads a file."""
    return Path(path).read_text()
