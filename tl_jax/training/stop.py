"""Ending a run in good order when it is told to."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from tl_jax.terminal import say
from tl_jax.training.distributed import SharedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What ends a run."""

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
    """Set by the first Ctrl-C or SIGTERM; the second one ends the process at once.

    A thread listens. Python runs its own handlers only between two instructions of the main thread, which may be
    minutes away while XLA compiles; and an exception raised there while threads of XLA work ended in a crash.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._wakeup = -1

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
            return
        self._pipe = heard, told = os.pipe()
        os.set_blocking(told, False)
        self._wakeup = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        threading.Thread(target=self._listen, args=(heard,), daemon=True, name="tl_jax signals").start()

    def uninstall(self) -> None:
        if self._pipe is None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._pipe[1])  # the thread closes the other end
        self._pipe = None

    def _listen(self, heard: int) -> None:
        earlier = False
        with os.fdopen(heard, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] not in SIGNALS:
                    continue
                name = signal.Signals(number[0]).name
                if earlier:
                    say(f"tl-jax: ended at once by a second signal, {name}", err=True)
                    os._exit(exit_code(name))
                self.received, earlier = name, True

    def _receive(self, number: int, _: FrameType | None) -> None:
        """Python's handler, without which nothing would be told to the thread; whoever is first keeps the signal."""
        self.received = self.received or signal.Signals(number).name
