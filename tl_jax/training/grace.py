"""How long a run needs after a signal, against how long whoever sends it waits before killing it."""

from __future__ import annotations

import time


class GraceCheck:
    """Measures how often a signal is heard and how long checkpoints take, and warns once.

    Args:
        seconds: between the signal and the kill.
    """

    def __init__(self, seconds: float) -> None:
        self._grace = seconds
        self._last: float | None = None
        self._seconds_between = 0.0
        self._told = False

    def hears(self) -> None:
        """Called whenever a signal would be noticed. The time until the first call is not measured: it compiles."""
        now = time.monotonic()
        if self._last is not None:
            self._seconds_between = now - self._last
        self._last = now

    def warning(self, save_seconds: float) -> str | None:
        """What is to be said once a checkpoint has taken ``save_seconds``; None if nothing, or if it has been said."""
        needed = self._seconds_between + save_seconds
        if self._told or needed <= self._grace:
            return None
        self._told = True
        return (
            f"warning: a signal is heard every {self._seconds_between:.0f} s and a checkpoint takes "
            f"{save_seconds:.0f} s, but a signal leaves checkpoint.grace_seconds={self._grace:g}: killed then, the run "
            "goes on from an older checkpoint. Let the signal come earlier, or save more often (checkpoint.every, "
            "checkpoint.minutes)"
        )
