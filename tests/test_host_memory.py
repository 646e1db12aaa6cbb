"""What was freed between pieces that stay goes back to the system."""

from __future__ import annotations

import ctypes

import pytest

from tests.freed_pieces import goes_back, needs_glibc
from tl_jax.host_memory import give_back


@needs_glibc
def test_what_was_freed_goes_back() -> None:
    with goes_back():
        give_back()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    give_back()
