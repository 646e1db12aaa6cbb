"""Calls that hang, and calls that fail."""

from __future__ import annotations

import math
import threading
import time

import pytest

from tl_jax.rl.deadline import DeadlineError, within


def test_a_call_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"no answer within 0\.05 seconds"):
        within(0.05, release.wait)
    assert time.monotonic() - began < 5
    release.set()


@pytest.mark.parametrize("seconds", [5.0, math.inf])
def test_values_and_errors_come_through(seconds: float) -> None:
    assert within(seconds, lambda: threading.current_thread()) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        within(seconds, lambda: 1 / 0)


def test_a_call_cannot_end_the_program() -> None:
    def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        within(5.0, leaves)
