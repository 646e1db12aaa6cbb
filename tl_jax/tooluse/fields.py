"""Strict reading of JSON objects: a field that nobody asked for is an error, or is dropped and counted.

Whoever reads an object wraps it in `Fields`, takes what it understands and says `Fields.done`. What is understood and
what is accepted are therefore the same list, and no field can be lost by being forgotten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar, overload

from tl_jax.errors import DataError
from tl_jax.registry import suggestion
from tl_jax.visible import in_one_line

T = TypeVar("T")
D = TypeVar("D")

Unknown: TypeAlias = Literal["error", "drop"]
"""What becomes of a field that is not known."""

PREFERENCES = (
    *("chosen", "rejected", "rejected_response", "rejected_messages", "rejected_completion", "kto_tag"),
    *("preferred_output", "non_preferred_output"),
)
"""Fields of rows that say which of two answers is better, or whether an answer is good."""

EXAMPLES = 10
"""Examples that a remark names at most."""
EXAMPLE = 120
"""Characters of an example at most."""

_REQUIRED: Any = object()
_KINDS: dict[Any, str] = {str: "text", dict: "a JSON object", list: "a list", bool: "true or false"}
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
                item = next(items, _REQUIRED)
            if item is _REQUIRED:
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


class Fields:
    """A JSON object that hands out each of its fields once. Null counts as absent everywhere.

    Args:
        value: what should be an object.
        where: the field that it stands in, for errors; empty = it is the whole row.

    Raises:
        DataError: it is no object.

    Example:
        >>> with Fields({"name": "f", "args": {"x": 1}}, "tool_calls[0]") as call:
        ...     call.take("name", kind=str), call.take("arguments", "args", kind=dict, default={})
        ('f', {'x': 1})
        >>> with Fields({"name": "f", "argumens": {}}, "tool_calls[0]") as call:
        ...     call.take("name"), call.take("arguments", default=None)
        Traceback (most recent call last):
            ...
        tl_jax.errors.DataError: tool_calls[0].argumens: unknown field; did you mean 'arguments'?
    """

    __slots__ = ("_asked", "_left", "_taken", "_told", "where")

    def __init__(self, value: Any, where: str = "") -> None:
        if not isinstance(value, dict):
            raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where or "row")
        if not where:
            refuse_preferences(value)
        self.where = where
        self._left = {key: item for key, item in value.items() if item is not None}
        self._asked: list[tuple[str, ...]] = []
        self._taken = ""
        self._told: dict[str, str] = {}

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.done()

    def __contains__(self, name: str) -> bool:
        """Whether there is such a field and it was not taken yet."""
        return name in self._left

    def __bool__(self) -> bool:
        """Whether there are fields that were not taken yet."""
        return bool(self._left)

    @overload
    def take(self, *names: str) -> Any: ...
    @overload
    def take(self, *names: str, kind: type[T]) -> T: ...
    @overload
    def take(self, *names: str, default: Any) -> Any: ...
    @overload
    def take(self, *names: str, kind: type[T], default: D) -> T | D: ...
    def take(self, *names: str, kind: Any = object, default: Any = _REQUIRED) -> Any:
        """The field, under whichever of its names it is there.

        Args:
            names: its name, and others that mean the same.
            kind: the class that the value has to have. True and False are no numbers.
            default: what an absent field is; without it the field is required.

        Raises:
            DataError: it is missing, of another kind, or there under two names with different values.
        """
        self._asked.append(names)
        left = self._left
        for name in names:
            if name in left:
                break
        else:
            if default is _REQUIRED:
                raise DataError("is missing", field=self.at(names[0]))
            return default
        value, self._taken = left.pop(name), name
        if len(names) > 1:
            for other in names:
                if other in left and left.pop(other) != value:
                    raise DataError(f"says something else than {name!r}, which means the same", field=self.at(other))
        if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
            expected = _KINDS.get(kind, kind.__name__)
            raise DataError(f"must be {expected}, not {type(value).__name__}", field=self.at(name))
        return value

    @property
    def taken(self) -> str:
        """Where the field stands that was taken last and was there."""
        return self.at(self._taken)

    def at(self, *names: str) -> str:
        """Where the field stands, for errors and for what is in it. Of several names, the one that is there."""
        name = next((name for name in names if name in self._left), names[0])
        return f"{self.where}.{name}" if self.where else name

    def look(self, name: str) -> Any:
        """The value of a field, which stays to be taken; None where there is none."""
        return self._left.get(name)

    def each(self, *names: str) -> list[tuple[Any, str]]:
        """The items of a list, each with where it stands; an absent list has none.

        Raises:
            DataError: it is no list.
        """
        items = self.take(*names, kind=list, default=())
        return [(item, f"{self.taken}[{i}]") for i, item in enumerate(items)]

    def keep(self, *names: str, prefix: str | None = None) -> dict[str, Any]:
        """Those of these fields that are there, and those that begin with ``prefix``, as they are."""
        self._asked.append(names)
        if not self._left:
            return {}
        found = [n for n in self._left if n in names or (prefix is not None and n.startswith(prefix))]
        return {name: self._left.pop(name) for name in found}

    def expect(self, name: str, *values: Any) -> None:
        """The field, if it is there, has one of these values: it says what kind of object this is, and nothing else.

        Raises:
            DataError: it has another.
        """
        value = self.take(name, default=values[0])
        if value not in values:
            raise DataError(f"must be {' or '.join(map(repr, values))}, not {value!r}", field=self.at(name))

    def tell(self, problem: str, *names: str) -> None:
        """What is wrong with these fields if nobody takes them."""
        self._told |= dict.fromkeys(names, problem)

    def done(self) -> None:
        """Says that everything known was taken.

        Raises:
            DataError: something is left, and `Notes.unknown` is ``error``.
        """
        for name in self._left:
            if name in self._told:
                left_out(self.at(name), self._told[name])
            else:
                unknown(self.at(name), name, chain.from_iterable(self._asked))


def row_id(row: Fields, default: str | None = None) -> str:
    """Takes the id of a row.

    Args:
        default: that of a row without one, or with an empty one; None: it has to have one.

    Raises:
        DataError: it is missing, or neither text nor a number.
    """
    value = row.take("id") if default is None else row.take("id", default=default)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"must be text or a number, not {type(value).__name__}", field=row.at("id"))
    return str(value) or default or ""


def refuse_preferences(row: Mapping[str, Any]) -> None:
    """Says that a row is preference data, which nobody may mistake for answers to learn.

    Raises:
        DataError: it is.
    """
    found = [name for name in PREFERENCES if row.get(name) is not None]
    found += ["label"] if isinstance(row.get("label"), bool) else []
    if found:
        raise DataError(
            "is preference data (DPO, KTO): which answer is better cannot be learnt here; write the answers to imitate "
            "as trajectories of their own",
            field=found[0],
        )


def unknown(where: str, name: str, known: Iterable[str]) -> None:
    """Complains about a field that is not known, or counts it where such fields are dropped.

    Raises:
        DataError: unless `Notes.unknown` is ``drop``.
    """
    if not _dropped(where):
        raise DataError(f"unknown field; {suggestion(name, dict.fromkeys(known))}", field=where)


def left_out(where: str, problem: str) -> None:
    """Complains about a field that has no place, or counts it where such fields are dropped.

    Raises:
        DataError: unless `Notes.unknown` is ``drop``.
    """
    if not _dropped(where):
        raise DataError(problem, field=where)


def _dropped(where: str) -> bool:
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
