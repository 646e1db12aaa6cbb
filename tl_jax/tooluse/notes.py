"""What there is to say about a file that is read: fields that were dropped, and remarks, each counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from tl_jax.visible import in_one_line

T = TypeVar("T")

Unknown: TypeAlias = Literal["error", "drop"]
"""What becomes of a field that is not known."""
EXAMPLES = 10
"""Examples that a remark names at most."""
EXAMPLE = 120
"""Characters of an example at most."""

_END: Any = object()
_NUMBERED = re.compile(r"\[\d+\]")
_NAMED = re.compile(r"\.(properties|patternProperties|definitions|\$defs|dependentSchemas)\.[^.]+")


@dataclass
class Notes:
    """What was left out or guessed while a file was read, by kind and with how often.

    Args:
        unknown: ``error`` refuses a field that is not known; ``drop`` leaves it out and counts it.
    """

    unknown: Unknown = "error"
    dropped: Counter[str] = field(default_factory=Counter)
    """Field without its numbers (``messages[].foo``) -> how often it was left out."""
    remarks: Counter[str] = field(default_factory=Counter)
    """What else there is to say about the file -> how often."""
    examples: dict[str, dict[str, None]] = field(default_factory=dict)
    """What was said -> what it was said about, of a few rows."""
    files: dict[str, Notes] = field(default_factory=dict)
    """The notes of each file that was read while these were `kept`."""

    def __post_init__(self) -> None:
        if self.unknown not in ("error", "drop"):
            raise ValueError(f"unknown is 'error' or 'drop', not {self.unknown!r}")

    def lines(self) -> list[str]:
        """For people: one line for each field and each remark."""
        lines = [f"unknown field dropped: {path} ({count} x)" for path, count in self.dropped.most_common()]
        lines += [f"{text}{self._examples(text)} ({count} x)" for text, count in self.remarks.most_common()]
        return lines + [f"{path}: {line}" for path, notes in self.files.items() for line in notes.lines()]

    def say(self, text: str, example: str = "") -> None:
        """Counts something that there is to say, see `remark`."""
        self.remarks[text] += 1
        found = self.examples.setdefault(text, {}) if example else {}
        if len(found) < EXAMPLES:
            found[in_one_line(example.strip()[:EXAMPLE])] = None

    def add(self, later: Notes) -> None:
        """Takes over what was noted of later rows of the same file."""
        self.dropped.update(later.dropped)
        self.remarks.update(later.remarks)
        for text, found in later.examples.items():
            known = self.examples.setdefault(text, {})
            for example in found:
                if len(known) < EXAMPLES:
                    known[example] = None
        self.files.update(later.files)

    def _examples(self, text: str) -> str:
        found = [f"'{example}'" for example in self.examples.get(text, ())]
        return f", such as {', '.join(found)}" if found else ""

    @staticmethod
    def current() -> Notes | None:
        """Those that are `kept` around here."""
        return _NOTES.get()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Everything that is read inside is noted here, and unknown fields are treated as `unknown` says."""
        token = _NOTES.set(self)
        try:
            yield
        finally:
            _NOTES.reset(token)

    def during(self, make: Callable[[], Iterable[T]]) -> Iterator[T]:
        """What ``make`` gives, one by one; reading is noted here, but not what the caller does in between."""
        with self.kept():
            items = iter(make())
        while True:
            with self.kept():
                item = next(items, _END)
            if item is _END:
                return
            yield item


_NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)


def remark(text: str, example: str = "") -> None:
    """Counts something that the reader of the file should be told once.

    Args:
        example: what it is said about; a few of these are told with it.
    """
    notes = _NOTES.get()
    if notes is not None:
        notes.say(text, example)


def dropped(where: str) -> bool:
    """Whether fields are dropped that are not known; then counts this one."""
    notes = _NOTES.get()
    if notes is None or not drops_unknown():
        return False
    notes.dropped[_NAMED.sub(r".\1.*", without_numbers(where))] += 1
    return True


def drops_unknown() -> bool:
    """Whether what is not known is dropped, and no error."""
    notes = _NOTES.get()
    return notes is not None and notes.unknown == "drop"


def without_numbers(where: str) -> str:
    """A field of any message: ``messages[3].content`` as ``messages[].content``."""
    return _NUMBERED.sub("[]", where)
