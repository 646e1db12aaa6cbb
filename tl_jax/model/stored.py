"""Arrays that stay on disk until they are used, so that a model can be written elsewhere without ever being in memory.

A tree of `StoredArray` is a model's parameters as far as shapes and dtypes go. Whoever goes through it leaf by leaf,
and through each of them by its parts, and lets go of a part before the next, holds a layer of one parameter.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_PIECE = 1 << 24
"""About so many elements are looked at together."""


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array that is read anew whenever it is used, in parts or whole."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], np.ndarray]
    """its rows along the first axis, from one to below another, in this dtype and in memory that nobody else has"""
    rows: int
    """so many lie together, from every multiple of it, and are read together"""

    def load(self) -> np.ndarray:
        """The array. What was loaded before and has been let go of is out of memory when it is read."""
        return self._read(0, len(self))

    def parts(self, at_least: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Parts of it along its first axis, none of them smaller than it has to be, and where each begins.

        Args:
            at_least: rows of a part, but the last.

        Example:
            >>> array = StoredArray((7,), np.dtype(int), np.arange, rows=2)
            >>> list(array.parts(at_least=3))
            [(0, array([0, 1, 2, 3])), (4, array([4, 5, 6]))]
        """
        step = self.rows * -(-at_least // self.rows)
        for first in range(0, len(self), step):
            yield first, self._read(first, min(first + step, len(self)))

    def _read(self, first: int, last: int) -> np.ndarray:
        gc.collect(0)  # JAX keeps arrays of NumPy that it was given until its next call or the next collection
        return self.read(first, last)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For ``numpy.asarray``."""
        array = self.load()
        return array if dtype is None else array.astype(dtype, copy=False)

    def then(self, change: Callable[[np.ndarray, int], np.ndarray]) -> StoredArray:
        """The same with ``change`` made to what is read, in place or not, each time that it is; shape and dtype stay.

        Args:
            change: is given a part, and where it begins.
        """
        read = self.read
        return replace(self, read=lambda first, last: change(read(first, last), first))


def pieces(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of an array along its first axis, and where each begins; together they are the array.

    Example:
        >>> [(first, part.shape) for first, part in pieces(np.zeros((3, 2**23)))]
        [(0, (2, 8388608)), (2, (1, 8388608))]
    """
    rows = max(1, _PIECE // max(1, math.prod(array.shape[1:])))
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
