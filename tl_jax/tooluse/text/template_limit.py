"""Ends chat templates that do not come to an end: two loops inside each other are all it takes.

A template is a program from outside. Its sandbox keeps it from files and modules, but not from going on.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tl_jax.errors import UserError

SECONDS = 10.0
"""Of processor time for one text, where the system tells threads' apart; texts of thousands of messages take one."""
GLANCE_SECONDS = 0.2


class EndlessTemplateError(UserError):
    """A chat template that was ended, because it would have gone on."""


class _OutOfTime(BaseException):
    """Raised in the thread of the template; no ``except Exception`` of it or of Jinja catches it."""


@dataclass(eq=False)
class _Running:
    thread: int
    spent: Callable[[], float]
    until: float
    ended: bool = False


class _Watchman:
    """Looks at what runs, from a thread of its own that begins with the first template."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[_Running] = set()
        self._thread: threading.Thread | None = None

    def watch(self, one: _Running) -> None:
        with self._lock:
            self._running.add(one)
            if self._thread is None or not self._thread.is_alive():  # none yet, or it was left in the parent by a fork
                self._thread = threading.Thread(target=self._look, daemon=True, name="tl_jax chat templates")
                self._thread.start()

    def leave(self, one: _Running) -> None:
        """From here on ``one`` is not ended any more; what is on its way to it arrives before this returns."""
        with self._lock:
            self._running.discard(one)
        if one.ended:
            for _ in range(10):
                pass  # at the end of a round Python raises what waits for this thread, if it has not come already

    def _look(self) -> None:
        while True:
            time.sleep(GLANCE_SECONDS)
            with self._lock:
                for one in [one for one in self._running if one.spent() > one.until]:
                    one.ended = True
                    self._running.discard(one)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(one.thread), ctypes.py_object(_OutOfTime))


_watchman = _Watchman()


def limited(write: Callable[[], str], seconds: float = SECONDS) -> str:
    """What ``write`` gives, if it does so in time. A single operation of C, such as a sort, is not cut short.

    Raises:
        EndlessTemplateError: it goes on.

    Example:
        >>> limited(lambda: "text")
        'text'
    """
    thread = threading.get_ident()
    spent = _clock(thread)
    one = _Running(thread, spent, spent() + seconds)
    try:
        try:
            _watchman.watch(one)
            return write()
        finally:
            _watchman.leave(one)
    except _OutOfTime:
        raise EndlessTemplateError(
            f"the chat template has been writing a conversation for {seconds:g} seconds and was ended: it has loops "
            "without end, or nearly so; use another template or the format 'paper'"
        ) from None


def _clock(thread: int) -> Callable[[], float]:
    """Seconds that the running thread has worked; where the system does not say, seconds that have gone by."""
    if hasattr(time, "pthread_getcpuclockid"):
        return partial(time.clock_gettime, time.pthread_getcpuclockid(thread))
    return time.monotonic
