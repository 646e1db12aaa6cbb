"""Beginnings that texts, or sequences of tokens, have in common."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

Sliced = TypeVar("Sliced", str, list[int], list[str], tuple[Any, ...])
"""Compared slice by slice, so that both have to be of one type: a list equals no tuple."""


def common_prefix(one: Sliced, other: Sliced) -> int:
    """Length of the longest common prefix.

    Example:
        >>> common_prefix("getPaperDetails", "getPapersByKeywords")
        8
    """
    return bisect_left(range(min(len(one), len(other))), True, key=lambda i: one[: i + 1] != other[: i + 1])


@lru_cache(maxsize=4096)
def shared_prefixes(ordered: tuple[Sliced, ...]) -> tuple[int, ...]:
    """For each sequence the length of the longest prefix that it shares with one of the others.

    Args:
        ordered: the sequences, sorted: the closest relative of one is then its neighbour.

    Example:
        >>> shared_prefixes(("get", "get_user", "put"))
        (3, 3, 0)
    """
    between = [0, *(common_prefix(one, other) for one, other in pairwise(ordered)), 0]
    return tuple(map(max, pairwise(between))) if ordered else ()
