"""What grading an answer gives: its reward, the faults found and how the figure was computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tl_jax.registry import Registry
from tl_jax.tooluse.rewards.compare import Fault


class Outcome(NamedTuple):
    """What an answer can be: a kind of fault, or right."""

    name: str
    meaning: str


CORRECT = "correct"
OUTCOMES = Registry(
    "outcome",
    (
        Outcome("parse_failure", "not the form asked for"),
        Outcome("hallucinated_tool", "a tool that is not offered"),
        Outcome("wrong_tool", "another tool than the gold call's"),
        Outcome("hallucinated_parameter", "a parameter outside the schema"),
        Outcome("redundant_parameter", "one in the schema but not in the gold call"),
        Outcome("missing_parameter", "one of the gold call's is missing"),
        Outcome("wrong_value", "names right, a value differs"),
        Outcome(CORRECT, "all right"),
    ),
)
"""The gravest first: the order of the paper's table."""

CATEGORIES = tuple(name for name in OUTCOMES if name != CORRECT)
"""Kinds of faults, the gravest first."""

_SHOWN = 8


class Verdict(NamedTuple):
    """A grade in figures only, because thousands are given each second.

    ``faults`` are those of all calls; ``terms`` is what the profile computed ``value`` from.
    """

    value: float
    faults: tuple[Fault, ...] = ()
    terms: tuple[float, ...] = ()

    @property
    def category(self) -> str:
        """The gravest fault, or ``correct``."""
        return min((fault.category for fault in self.faults), key=CATEGORIES.index, default=CORRECT)


@dataclass(frozen=True, slots=True)
class Reward:
    """What an answer is worth. ``category``: its gravest fault, or ``correct``. ``explanation``: one line."""

    value: float
    category: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an answer is worth what it is worth; ``str()`` of it is one line.

    ``faults`` name category, offending arguments and, in words, what is wrong with them; ``arithmetic`` is how
    ``value`` was computed, such as ``-0.8 -0.5 = -1.3``.
    """

    value: float
    category: str
    faults: tuple[Fault, ...]
    arithmetic: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """The offending arguments of all faults, each once."""
        return tuple(dict.fromkeys(name for fault in self.faults for name in fault.arguments))

    def to_json(self) -> dict[str, Any]:
        """``value``, ``category``, ``faults`` ({category, call, arguments, detail}) and ``arithmetic``."""
        faults = [
            {
                "category": fault.category,
                "call": fault.predicted.name if fault.predicted else None,
                "arguments": list(fault.arguments),
                "detail": fault.detail,
            }
            for fault in self.faults
        ]
        return {"value": self.value, "category": self.category, "faults": faults, "arithmetic": self.arithmetic}

    def __str__(self) -> str:
        return one_line(self.faults, self.arithmetic)


def one_line(faults: tuple[Fault, ...], arithmetic: str) -> str:
    """The faults in words, at most eight of them, and the arithmetic."""
    words = "; ".join(f"{fault.category}: {fault.detail}" for fault in faults[:_SHOWN]) or CORRECT
    return f"{words}{'; ...' if len(faults) > _SHOWN else ''}: {arithmetic}"


def summed(amounts: Iterable[float]) -> str:
    """``-0.8 -0.5 = -1.3``"""
    amounts = list(amounts)
    figures = " ".join(f"{amount:+g}" for amount in amounts)
    return figures if len(amounts) == 1 else f"{figures} = {sum(amounts):+g}"
