"""Whether one of several processes was told something that all must act upon, at the same step."""

from __future__ import annotations

import time

import numpy as np
from jax.experimental import multihost_utils

SECONDS = 5.0
"""Between two questions, as near as whole steps come to it."""


class Poll:
    """Asks all processes, about as often in seconds however long a step takes.

    To ask takes milliseconds, but everybody waits for the devices and for each other: to do so after every step would
    keep the host from preparing the next ones meanwhile. All come to the same steps, because the answers tell them how
    long a step takes.

    Args:
        start: updates done.
    """

    def __init__(self, start: int) -> None:
        self._step, self._at = start, time.monotonic()
        self._next = 0

    def due(self, step: int) -> bool:
        """Whether it is time to ask, after ``step``."""
        return step >= self._next

    def any_of_all(self, step: int, *flags: bool) -> list[bool]:
        """Which of the flags are set in any process; all processes come here after the same ``step``."""
        now = time.monotonic()
        seconds = (now - self._at) / max(step - self._step, 1)
        found = multihost_utils.process_allgather(np.array([*flags, seconds], np.float32))
        self._step, self._at = step, now
        self._next = step + max(int(SECONDS / max(found[:, -1].max(), 1e-6)), 1)
        return [bool(flag) for flag in found[:, :-1].any(axis=0)]
