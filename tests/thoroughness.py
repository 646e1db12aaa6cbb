"""How many examples a property is tried on."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100
"""Examples of a property that says nothing else, but for `make quick`."""


def examples(count: int) -> int:
    """For ``max_examples``: fewer, in proportion, where the profile in use tries fewer of every property."""
    return max(5, count * settings.default.max_examples // USUAL) if settings.default else count
