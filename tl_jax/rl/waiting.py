"""Waiting for calls that may hang: no longer than one wants to, for several at once, and while looking around."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

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


class DeadlineError(TimeoutError):
    """A call was given up."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` gives in a thread of its own, which is left behind if it does not end in time.

    Args:
        seconds: may be infinite.
        call: whatever it raises is raised here, what would end a program (`SystemExit`) as a `RuntimeError`.

    Raises:
        DeadlineError: it goes on still.

    Example:
        >>> within(5.0, lambda: 6 * 7)
        42
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True, name="tl_jax call with a deadline").start()
    try:
        value, error = answers.get(timeout=seconds if seconds < threading.TIMEOUT_MAX else None)
    except queue.Empty:
        raise DeadlineError(f"timed out, no answer within {seconds:.3g} seconds") from None
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return value  # type: ignore[return-value]


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
