"""Few sizes, so that a new prompt or number of prompts seldom compiles anything."""

from __future__ import annotations

from typing import NamedTuple


def bucket(size: int, smallest: int = 1) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: few sizes, at most a third of it padding."""
    size = max(size, smallest)
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if power >= 4 and size <= power * 3 // 4 else power


def places_for(known: int, more: int) -> int:
    """Places of a row of the cache, for so many tokens and ``more`` behind them; a multiple of 16.

    Kernels of accelerators take nothing else as it is: they would copy the whole row at every step.

    Example:
        >>> [places_for(known, 20) for known in (5, 20, 100)]
        [48, 48, 160]
    """
    return sixteens(bucket(known, smallest=16) + more)


def sixteens(places: int) -> int:
    """The next multiple of 16."""
    return -(-places // 16) * 16


class Room(NamedTuple):
    """For how many tokens there is room."""

    own: int
    """in a slot"""
    shared: int | None = None
    """in what the slots of a group share; None = prompts lie in slots"""


def room_for(prompt: int, answer: int, group: int) -> Room:
    """For so many tokens of both; prompts lie by themselves where a ``group`` of slots is more than one."""
    if group == 1:
        return Room(places_for(prompt, answer))
    return Room(sixteens(answer), bucket(prompt, smallest=16))


def row_count(asked: int, spread: int) -> int:
    """Rows for so many prompts or answers: one of few sizes, the same on each of ``spread`` devices."""
    return bucket(-(-asked // spread)) * spread


def bucket_within(size: int) -> int:
    """The largest of these sizes that is not above ``size``.

    Example:
        >>> [bucket_within(size) for size in (1, 5, 6, 100)]
        [1, 4, 6, 96]
    """
    power = 1 << (size.bit_length() - 1)
    return power * 3 // 2 if power >= 2 and size >= power * 3 // 2 else power
