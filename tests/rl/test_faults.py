"""What fails is tried again, told, and replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_jax.errors import UserError
from tl_jax.rl.faults import FaultyResult, described, is_fault, retried, stand_ins


@given(st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=5), st.data())
def test_stand_ins_are_right_ones_of_the_same_group(size: int, groups: list[bool], data: st.DataObject) -> None:
    failed = [data.draw(st.booleans()) for _ in groups for _ in range(size)]
    if all(failed):
        failed[data.draw(st.integers(0, len(failed) - 1))] = False
    places = stand_ins(failed, size)
    assert len(places) == len(failed)
    for index, place in enumerate(places):
        assert not failed[place]
        assert place == index or failed[index]
    for start in range(0, len(failed), size):
        whose = {place // size for place in places[start : start + size]}
        assert len(whose) == 1  # a group stays one of answers to the same prompt
        assert whose == {start // size} or all(failed[start : start + size])


def test_retries_wait_only_from_the_second_on(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("tl_jax.rl.faults.time.sleep", waited.append)
    with pytest.raises(ZeroDivisionError):
        retried(lambda: 1 / 0, 3)
    assert waited == [0.0, 1.0, 1.0]
    assert retried(lambda: 7, 3) == 7


def test_an_error_of_the_configuration_is_not_tried_again() -> None:
    asked = []

    def make() -> None:
        asked.append(1)
        raise UserError("no such profile")

    with pytest.raises(UserError):
        retried(make, 3)
    assert len(asked) == 1
    assert is_fault(FaultyResult("nan"))
    assert is_fault(ValueError("x"))
    assert not is_fault(UserError("x"))


def test_an_error_is_one_line_with_its_place() -> None:
    try:
        raise ValueError("a\nb" + "c" * 1000)
    except ValueError as error:
        line = described(error)
    assert line.startswith("ValueError: a b")
    assert "(test_faults.py:" in line
    assert len(line) < 400
