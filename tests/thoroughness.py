"""How much is tried: how many examples of a property, how many of the combinations of a costly test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

USUAL = 100
"""Examples that counts are given for. `make test` tries half of them, `make fuzz` ten times as many."""


THOROUGH = (pytest.mark.slow, pytest.mark.thorough)
"""For ``marks`` of what `make thorough` alone tries."""


def examples(count: int) -> int:
    """For ``max_examples``: fewer, in proportion, where the profile in use tries fewer of every property."""
    return max(5, count * settings.default.max_examples // USUAL) if settings.default else count


def first_then_slow(values: Iterable[Any]) -> list[Any]:
    """For ``parametrize``: the first value is tried by `make check`, the others by `make test` alone."""
    return _first(values, pytest.mark.slow)


def first_then_thorough(values: Iterable[Any]) -> list[Any]:
    """For ``parametrize`` of a slow test: the first value is tried by `make test`, the others by `make thorough`."""
    return _first(values, *THOROUGH)


def _first(values: Iterable[Any], *marks: pytest.MarkDecorator) -> list[Any]:
    first, *others = values
    return [first, *(pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=marks) for one in others)]
