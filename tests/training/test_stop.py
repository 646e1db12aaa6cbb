"""Signals that end a run."""

from __future__ import annotations

import signal

import pytest

from tl_jax.training.stop import StopSignal


def test_the_second_ctrl_c_interrupts() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may start without
    stop = StopSignal()
    stop.install()
    signal.raise_signal(signal.SIGINT)
    assert stop.received == "SIGINT"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
