"""Tools of one name: all are shown to the model, the first is what calls are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.schema import Tool

SAME_NAME = "several tools of one name, which APIs refuse: calls are compared with the first"


def by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Name -> the first tool that has it.

    Example:
        >>> by_name([Tool("f", "one"), Tool("f", "two")])["f"].description
        'one'
    """
    return {tool.name: tool for tool in reversed(tools)}


def tell_same_names(tools: Sequence[Tool]) -> None:
    """Counts the names that several tools of a row have."""
    for name, count in Counter(tool.name for tool in tools).items():
        if count > 1:
            remark(SAME_NAME, name)
