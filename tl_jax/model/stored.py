"""Arrays that stay on disk until they are used, so that a model can be written elsewhere without ever being in memory.

A tree of `StoredArray` is a model's parameters as far as shapes and dtypes go. Whoever goes through it leaf by leaf,
and lets go of each before the next, holds one parameter.
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
    """An array that is read anew whenever ``numpy.asarray`` asks for it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray]
    """reads it, of this shape and dtype, into memory that nobody else has"""

    def load(self) -> np.ndarray:
        """The array. What was loaded before and has been let go of is out of memory when it is read."""
        gc.collect(0)  # JAX keeps arrays of NumPy that it was given until its next call or the next collection
        return self.read()

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

    def then(self, change: Callable[[np.ndarray], np.ndarray]) -> StoredArray:
        """The same with ``change`` made to it, in place or not, each time that it is read; shape and dtype stay."""
        read = self.read
        return replace(self, read=lambda: change(read()))


def pieces(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of an array along its first axis, and where each begins; together they are the array.

    Example:
        >>> [(first, part.shape) for first, part in pieces(np.zeros((3, 2**23)))]
        [(0, (2, 8388608)), (2, (1, 8388608))]
    """
    rows = max(1, _PIECE // max(1, math.prod(array.shape[1:])))
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
