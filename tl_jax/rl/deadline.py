"""Calls that may hang, and waiting for them no longer than one wants to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
        raise DeadlineError(f"no answer within {seconds:.3g} seconds") from None
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return value  # type: ignore[return-value]
