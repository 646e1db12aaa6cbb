"""A reward that ends its process in the middle of a run, for tests of resuming: as `kill -9` does."""

from __future__ import annotations

import os
import signal
import threading

from tl_jax.tooluse.schema import Case

_calls = 0


def length(prediction: str, case: Case) -> float:
    """Rubric short answers. Dies at the call that ``DIE_AT`` numbers, ``DIE_AFTER`` seconds later."""
    global _calls
    _calls += 1
    if _calls == int(os.environ.get("DIE_AT", "0")):
        threading.Timer(float(os.environ["DIE_AFTER"]), os.kill, (os.getpid(), signal.SIGKILL)).start()
    return -len(prediction) / 100
