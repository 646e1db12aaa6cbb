"""How long a run needs after a signal, against how long whoever sends it waits before killing it."""

from __future__ import annotations

import time


class GraceCheck:
    """Measures steps and checkpoints, and warns once.

    Args:
        seconds: between the signal and the kill.
    """

    def __init__(self, seconds: float) -> None:
        self._grace = seconds
        self._last: float | None = None
        self._step_seconds = 0.0
        self._told = False

    def step_ends(self) -> None:
        """Called after each step; the first one, which is compiled, is not measured."""
        now = time.monotonic()
        if self._last is not None:
            self._step_seconds = now - self._last
        self._last = now

    def warning(self, save_seconds: float) -> str | None:
        """What is to be said once a checkpoint has taken ``save_seconds``; None if nothing, or if it has been said."""
        needed = self._step_seconds + save_seconds
        if self._told or needed <= self._grace:
            return None
        self._told = True
        return (
            f"warning: a step takes {self._step_seconds:.0f} s and a checkpoint {save_seconds:.0f} s, but a signal "
            f"leaves checkpoint.grace_seconds={self._grace:g}: killed then, the run goes on from an older checkpoint. "
            "Let the signal come earlier, or save more often (checkpoint.every, checkpoint.minutes)"
        )
