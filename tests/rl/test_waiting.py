"""Calls that hang, and calls that fail."""

from __future__ import annotations

import math
import threading
import time

import pytest

from tl_jax.rl.waiting import DeadlineError, OneByOne, Watch, side_by_side, within


def test_a_call_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"timed out, no answer within 0\.05 seconds"):
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


def test_the_thread_ends_with_whoever_calls_in_it() -> None:
    calls = OneByOne()
    thread = calls(5.0, threading.current_thread)
    assert calls(5.0, threading.current_thread) is thread
    del calls
    thread.join(5)
    assert not thread.is_alive()


def test_side_by_side_keeps_the_order() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def square(number: int, wait: bool) -> int:
        if wait:
            barrier.wait()  # three at the same time
        return number**2

    rows = [(number, number < 3) for number in range(20)]
    assert side_by_side(square, rows, 3, Watch()) == [number**2 for number in range(20)]
    assert side_by_side(square, [], 3, Watch()) == []


def test_what_one_raises_is_raised_and_nothing_new_begins() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise KeyError(number)
        time.sleep(0.01)

    with pytest.raises(KeyError):
        side_by_side(work, [(number,) for number in range(200)], 2, Watch())
    time.sleep(0.1)
    assert len(begun) < 200


def test_one_that_is_halted_leaves_everything_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_jax.rl.waiting.GLANCE_SECONDS", 0.01)
    release, told = threading.Event(), list[str]()
    watch = Watch(halts=lambda: len(told) > 1, tell=told.append).of("reset")
    assert side_by_side(lambda wait: release.wait(60) if wait else None, [(False,), (True,)], 2, watch) is None
    assert told[-1] == "reset: 1 of 2"
    release.set()
