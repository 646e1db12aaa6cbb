"""How the cost of something grows with its input: what is linear, and what is not."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

TIMES = 8
"""How much larger the larger input is."""


PACE = 0.012
"""Seconds of the yardstick where bounds in seconds hold as they are written."""


def grows_linearly(do: Callable[[Any], Any], make: Callable[[int], Any], size: int) -> bool:
    """Whether ``do(make(8 * size))`` takes far less than 64 times the processor's time of ``do(make(size))``.

    Seconds mean nothing on a machine that others use; of several tries the least counts, and one good one will do.
    """
    small, large = make(size), make(TIMES * size)
    return any(_least(do, large) < TIMES**1.6 * _least(do, small) for _ in range(3))


def takes_less(
    do: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.process_time, tries: int = 10
) -> bool:
    """Whether ``do`` takes less than ``seconds`` of ``clock`` at its best; a busy machine gets several tries, and a
    slow one more seconds."""

    def once(what: Callable[[], Any]) -> float:
        start = clock()
        what()
        return clock() - start

    return any((took := once(do)) < seconds or took < seconds * once(_yardstick) / PACE for _ in range(tries))


def _yardstick() -> int:
    return sum(number * number for number in range(300_000))


def peak(do: Callable[[], Any]) -> int:
    """Bytes that it takes at most, by Python's own count."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _least(do: Callable[[Any], Any], what: Any) -> float:
    """Seconds of the processor."""
    took = []
    gc.disable()  # it looks at everything that other tests have made
    try:
        for _ in range(4):
            start = time.process_time()
            do(what)
            took.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(took)
