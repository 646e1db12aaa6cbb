"""Waiting for calls that may hang: no longer than one wants to, for several at once, and while looking around."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tl_jax.training.stop import Interrupted

T = TypeVar("T")
GLANCE_SECONDS = 0.5
"""How often whoever waits looks around."""


@dataclass(frozen=True)
class Watch:
    """What is done while waiting."""

    halts: Callable[[], bool] = lambda: False
    """whether to give up, because the run is to end"""
    tell: Callable[[str], None] = lambda text: None
    """told what goes on"""

    def of(self, what: str) -> Watch:
        """The same for a part of it, of which is told how far it is."""
        return Watch(self.halts, lambda text: self.tell(f"{what}: {text}"))


NO_WATCH = Watch()


class DeadlineError(TimeoutError):
    """A call was given up."""


class OneByOne:
    """Calls in a thread of their own: the same for all, until one does not end in time and is left behind with it.

    What a function keeps for its thread, such as a connection to a database, lasts from call to call.

    Example:
        >>> OneByOne()(5.0, lambda: 6 * 7)
        42
    """

    def __init__(self) -> None:
        self._calls: _Calls | None = None

    def __call__(self, seconds: float, call: Callable[[], T], watch: Watch = NO_WATCH) -> T:
        """What ``call`` gives.

        Args:
            seconds: may be infinite.
            call: whatever it raises is raised here, what would end a program (`SystemExit`) as a `RuntimeError`.
            watch: looked at while it works.

        Raises:
            DeadlineError: it goes on still.
            Interrupted: ``watch`` halted it.
        """
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            threading.Thread(
                target=_work, args=(self._calls,), daemon=True, name="tl_jax calls with a deadline"
            ).start()
        answers: _Answers = queue.SimpleQueue()
        self._calls.put((call, answers))
        until = time.monotonic() + seconds
        while True:
            try:
                value, error = answers.get(timeout=max(min(until - time.monotonic(), GLANCE_SECONDS), 0))
                break
            except queue.Empty:
                pass
            if watch.halts():
                self.close()
                raise Interrupted
            if time.monotonic() >= until:
                self.close()
                raise DeadlineError(f"timed out, no answer within {seconds:.3g} seconds")
        if isinstance(error, Exception):
            raise error
        if error is not None:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        return value

    def close(self) -> None:
        """Ends the thread, as soon as it is done with its call; a later call has another one."""
        if self._calls is not None:
            self._calls.put(None)
        self._calls = None


_Answers: TypeAlias = "queue.SimpleQueue[tuple[Any, BaseException | None]]"
_Calls: TypeAlias = "queue.SimpleQueue[tuple[Callable[[], Any], _Answers] | None]"


def _work(calls: _Calls) -> None:
    while (given := calls.get()) is not None:
        call, answers = given
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))


def within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` gives in a thread of its own, which is left behind if it does not end in time.

    Raises:
        DeadlineError: it goes on still.

    Example:
        >>> within(5.0, lambda: 6 * 7)
        42
    """
    thread = OneByOne()
    try:
        return thread(seconds, call)
    finally:
        thread.close()


def side_by_side(call: Callable[..., T], rows: Iterable[tuple[Any, ...]], threads: int, watch: Watch) -> list[T] | None:
    """``call(*row)`` for each row, in as many threads, which are left behind if one waits no longer.

    Returns:
        what the calls give, in the order of ``rows``; None if ``watch`` halted it.

    Raises:
        BaseException: what the first call raises that raises anything.
    """
    todo: queue.SimpleQueue[tuple[int, tuple[Any, ...]]] = queue.SimpleQueue()
    for item in enumerate(rows):
        todo.put(item)
    count, found, over = todo.qsize(), dict[int, T](), threading.Event()
    answers: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        while not over.is_set():
            try:
                number, row = todo.get_nowait()
            except queue.Empty:
                return
            try:
                answers.put((number, call(*row), None))
            except BaseException as error:
                answers.put((number, None, error))

    for _ in range(min(threads, count)):
        threading.Thread(target=work, daemon=True, name="tl_jax side by side").start()
    try:
        while len(found) < count:
            if watch.halts():
                return None
            try:
                number, value, error = answers.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                watch.tell(f"{len(found)} of {count}")
                continue
            if error is not None:
                raise error
            found[number] = value  # type: ignore[assignment]
    finally:
        over.set()  # whoever works still begins nothing new
    return [found[number] for number in range(count)]
