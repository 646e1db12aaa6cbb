"""Numbers as arguments: in the range that the configuration's setting of the same meaning has."""

from __future__ import annotations

import math
from typing import Any

import click

from tl_jax.config import Node
from tl_jax.config.base import LARGEST
from tl_jax.config.fields import number_range

_VAST = 1e9
"""An upper end from here on is that of the arithmetic, and not told."""


class WholeRange(click.IntRange):
    """A whole number in a range."""

    def _describe_range(self) -> str:
        return f"x>={self.min}" if (self.max or 0) >= _VAST else super()._describe_range()


class FiniteRange(click.FloatRange):
    """A number in a range, which neither infinity nor NaN is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return f"x>={self.min:g}" if (self.max or 0) >= _VAST else super()._describe_range()


COUNT = WholeRange(1, LARGEST)


def number_of(section: type[Node], key: str) -> WholeRange | FiniteRange:
    """The numbers that a key of the configuration may have."""
    found = number_range(section.model_fields[key])
    if found is None:
        raise TypeError(f"{section.__name__}.{key} is not a number")
    kind = WholeRange if found.kind is int else FiniteRange
    return kind(found.least, found.most, found.above_least, found.below_most)
