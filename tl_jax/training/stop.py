"""Ending a run in good order when it is told to."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from tl_jax.training.distributed import SharedError

ANOTHER = "a signal to another process"
"""What stands for the signal's name where this process has got none."""


def exit_code(stopped_by: str | None) -> int:
    """What a command exits with whose run was ended by a signal: as shells say it, 130 for Ctrl-C and 143 for SIGTERM.

    Args:
        stopped_by: the signal's name, or None for a run that is done; of a signal to another process, only that there
            was one is known here, and it counts as SIGTERM.

    Example:
        >>> exit_code("SIGINT"), exit_code("SIGTERM"), exit_code(None)
        (130, 143, 0)
    """
    if stopped_by is None:
        return 0
    return 128 + getattr(signal, stopped_by, signal.SIGTERM)


class Interrupted(SharedError):
    """Work between two steps was given up in all processes, because a signal says that the run is to end."""


class StopSignal:
    """Set by the first Ctrl-C or SIGTERM; the second one acts as it would have."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def uninstall(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self.uninstall()
