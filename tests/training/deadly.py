"""Rewards for runs that end early: one ends its process as `kill -9` does, others fail or tell where they are."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from tl_jax.tooluse.schema import Case

_calls = 0


def length(prediction: str, case: Case) -> float:
    """Rubric short answers. Dies at the call that ``DIE_AT`` numbers, ``DIE_AFTER`` seconds later."""
    global _calls
    _calls += 1
    if _calls == int(os.environ.get("DIE_AT", "0")):
        threading.Timer(float(os.environ["DIE_AFTER"]), os.kill, (os.getpid(), signal.SIGKILL)).start()
    return -len(prediction) / 100


def in_one_process(prediction: str, case: Case) -> float:
    """Rewards short answers, in the first of several processes only.

    At the call that ``TELL_AT`` numbers it makes the file ``TELL_FILE``, at the one that ``FAIL_AT`` does it fails.
    """
    global _calls
    if os.environ.get("JAX_PROCESS_ID", "0") != "0":
        raise RuntimeError("asked in another process than the first")
    _calls += 1
    if _calls == int(os.environ.get("TELL_AT", "0")):
        Path(os.environ["TELL_FILE"]).touch()
    if _calls == int(os.environ.get("FAIL_AT", "0")):
        raise ZeroDivisionError("the first process fails")
    return -len(prediction) / 100


def noted(prediction: str, case: Case) -> float:
    """Rewards short answers, and touches the file ``NOTED``: answers have been sampled."""
    Path(os.environ["NOTED"]).touch()
    return -len(prediction) / 100
