"""Waiting for calls that may hang: no longer than one wants to, for several at once, and while looking around."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

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

    def __del__(self) -> None:
        """Nobody can call any more: without this, the thread would wait for a call until the program ends."""
        self.close()


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


class SideBySide(Generic[T]):
    """Calls in a few threads, which begin as soon as they are added; left behind if one waits no longer.

    Args:
        call: of each row that is added.
        threads: calls at the same time.

    Example:
        >>> with SideBySide(pow, 2) as calls:
        ...     calls.add(1, (3, 2))
        ...     calls.add(0, (2, 5))
        ...     calls.results(NO_WATCH)
        [32, 9]
    """

    def __init__(self, call: Callable[..., T], threads: int) -> None:
        self._call, self._threads, self._begun, self._added = call, threads, 0, 0
        self._todo: queue.SimpleQueue[tuple[int, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
        self._over = threading.Event()

    def add(self, number: int, row: tuple[Any, ...]) -> None:
        """Has ``call(*row)`` done, whose result is told by ``number``."""
        self._todo.put((number, row))
        self._added += 1
        if self._begun < self._threads:
            self._begun += 1
            threading.Thread(target=self._work, daemon=True, name="tl_jax side by side").start()

    def _work(self) -> None:
        while (given := self._todo.get()) is not None and not self._over.is_set():
            number, row = given
            try:
                self._answers.put((number, self._call(*row), None))
            except BaseException as error:
                self._answers.put((number, None, error))

    def results(self, watch: Watch) -> list[T] | None:
        """Waits for all that was added.

        Returns:
            what the calls give, by their numbers; None if ``watch`` halted it.

        Raises:
            BaseException: what the first call raises that raises anything.
        """
        found: dict[int, T] = {}
        while len(found) < self._added:
            if watch.halts():
                return None
            try:
                number, value, error = self._answers.get(timeout=GLANCE_SECONDS)
            except queue.Empty:
                watch.tell(f"{len(found)} of {self._added}")
                continue
            if error is not None:
                raise error
            found[number] = value  # type: ignore[assignment]
        return [found[number] for number in sorted(found)]

    def __enter__(self) -> SideBySide[T]:
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever works still begins nothing new."""
        self._over.set()
        for _thread in range(self._begun):
            self._todo.put(None)


def side_by_side(call: Callable[..., T], rows: Iterable[tuple[Any, ...]], threads: int, watch: Watch) -> list[T] | None:
    """``call(*row)`` for each row, as `SideBySide` does it; what is raised and returned is that of its ``results``."""
    with SideBySide(call, threads) as calls:
        for number, row in enumerate(rows):
            calls.add(number, row)
        return calls.results(watch)
