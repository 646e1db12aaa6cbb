"""Signals that end a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tl_jax.training.stop import StopSignal

WAITING = """
import ctypes, sys, time
from tl_jax.training.stop import StopSignal
stop = StopSignal()
stop.install()
print("ready", flush=True)
if sys.argv[1] == "python":
    time.sleep(20)
else:  # in C, where Python runs no handler of its own, as while XLA compiles
    libc, mutex = ctypes.CDLL(None), (ctypes.c_char * 64)()
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_kept_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    stop = StopSignal()
    stop.install()
    signal.raise_signal(number)
    assert stop.received == number.name
    stop.uninstall()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "number", "code"), [("c", signal.SIGINT, 130), ("c", signal.SIGTERM, 143), ("python", signal.SIGINT, 130)]
)
def test_the_second_signal_ends_the_process_at_once(where: str, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        time.sleep(0.3)
        assert process.poll() is None
        os.kill(process.pid, number)
    shown = process.communicate(timeout=10)[1]
    assert process.returncode == code
    assert shown == f"tl-jax: ended at once by a second signal, {number.name}\n"
