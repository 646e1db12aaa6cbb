"""Whether a run can stop in the time that a signal leaves."""

from __future__ import annotations

import pytest

from tl_jax.training.grace import GraceCheck


@pytest.mark.parametrize(
    ("step", "save", "told"), [(5.0, 4.0, False), (5.0, 6.0, True), (11.0, 0.0, True), (0.0, 10.0, False)]
)
def test_a_step_and_a_checkpoint_have_to_fit(
    monkeypatch: pytest.MonkeyPatch, step: float, save: float, told: bool
) -> None:
    now = [100.0]
    monkeypatch.setattr("tl_jax.training.grace.time.monotonic", lambda: now[0])
    check = GraceCheck(10.0)
    for _ in range(3):
        check.hears()
        now[0] += step
    warning = check.warning(save)
    assert bool(warning) == told
    if warning:
        assert f"heard every {step:.0f} s and a checkpoint takes {save:.0f} s" in warning
        assert "checkpoint.grace_seconds=10" in warning
    assert check.warning(save) is None  # once


def test_the_first_step_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tl_jax.training.grace.time.monotonic", lambda: now[0])
    check = GraceCheck(10.0)
    now[0] += 1000
    check.hears()
    assert check.warning(1.0) is None
