"""How often several processes ask each other."""

from __future__ import annotations

import numpy as np
import pytest

from tl_jax.training.poll import Poll


def test_every_few_seconds_by_what_the_slowest_says(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], [False]
    monkeypatch.setattr("tl_jax.training.poll.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "tl_jax.training.poll.multihost_utils.process_allgather",
        lambda flags: np.stack([flags, [told[0], 0, 0.5 * flags[2]]]),
    )
    poll, asked = Poll(3), []

    def take(steps: range, seconds: float) -> None:
        for step in steps:
            now[0] += seconds
            if poll.due(step):
                asked.append(step)
                assert poll.any_of_all(step, False, False) == [False, False]

    take(range(4, 5), 60)  # the first step is compiled
    take(range(5, 30), 0.5)
    assert asked == [4, 5, 15, 25]
    take(range(30, 40), 20)  # steps are longer than that
    assert asked == [4, 5, 15, 25, 35, 36, 37, 38, 39]
    told[0] = True
    assert poll.any_of_all(40, False, True) == [True, True]


def test_steps_of_no_time_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_jax.training.poll.time.monotonic", lambda: 0.0)
    monkeypatch.setattr("tl_jax.training.poll.multihost_utils.process_allgather", lambda flags: flags[None])
    poll = Poll(0)
    assert poll.any_of_all(1, True) == [True]
    assert not poll.due(2)
