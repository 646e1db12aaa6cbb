"""Records of one kind, such as file formats or estimators, by name: the one place that knows which there are.

Validators, choices on the command line, tables in the documents and lists in the tests all come from a registry, so a
new record is one entry here and nothing anywhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from tl_jax.errors import UserError


class Named(Protocol):
    """What a record has at least."""

    @property
    def name(self) -> str:
        """What users write."""


Record = TypeVar("Record", bound=Named)
Columns: TypeAlias = Mapping[str, Callable[[Record], Any]]


def suggestion(name: str, known: Iterable[str], choices: str = "") -> str:
    """What may have been meant by an unknown name: the nearest known one, or all of them (``choices`` in words).

    Example:
        >>> suggestion("hten", ["cat", "hen"])
        "did you mean 'hen'?"
        >>> suggestion("whale", ["cat", "hen"])
        'known: cat, hen'
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, 1) or difflib.get_close_matches(name.lower(), names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {choices or ', '.join(names)}"


class Registry(Mapping[str, Record], Generic[Record]):
    """The records of one kind in their order, by name.

    Args:
        kind: what a record is, for error messages: ``estimator``.
        records: the first ones.
        columns: heading -> cell of a record, for `table`; or what makes them, where they depend on other records.
        also: what users may write besides a name, for error messages: ``module:function``.

    Example:
        >>> from collections import namedtuple
        >>> Animal = namedtuple("Animal", "name legs")
        >>> animals = Registry("animal", [Animal("cat", 4)], columns={"animal": lambda a: f"`{a.name}`"})
        >>> animals.add(Animal("hen", 2)).legs
        2
        >>> list(animals)
        ['cat', 'hen']
        >>> animals.find("het")
        Traceback (most recent call last):
            ...
        tl_jax.errors.UserError: unknown animal 'het'; did you mean 'hen'?
    """

    def __init__(
        self,
        kind: str,
        records: Iterable[Record] = (),
        columns: Columns[Record] | Callable[[], Columns[Record]] | None = None,
        also: str = "",
    ) -> None:
        self.kind, self.also = kind, also
        self._records: dict[str, Record] = {}
        self._columns = columns or {kind: lambda record: f"`{record.name}`"}
        for record in records:
            self.add(record)

    def __getitem__(self, name: str) -> Record:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> Record:
        """Makes a record known under its name; returns it.

        Raises:
            ValueError: the name is taken.
        """
        if record.name in self._records:
            raise ValueError(f"the {self.kind} {record.name!r} is there already")
        self._records[record.name] = record
        return record

    @contextmanager
    def added(self, record: Record) -> Iterator[Record]:
        """The record is known inside the ``with`` block only."""
        self.add(record)
        try:
            yield record
        finally:
            del self._records[record.name]

    def find(self, name: str) -> Record:
        """The record called ``name``.

        Raises:
            UserError: there is none; the message has the nearest name, or all of them.
        """
        if name not in self._records:
            raise UserError(f"unknown {self.kind} {name!r}; {self.hint(name)}")
        return self._records[name]

    def hint(self, name: str) -> str:
        """What may have been meant by an unknown name."""
        return suggestion(name, self._records, self.choices())

    def choices(self) -> str:
        """What users may write, in words: ``cat, hen or module:function``."""
        return ", ".join(self._records) + (f" or {self.also}" if self.also else "")

    def table(self) -> str:
        """The records as a Markdown table, one a row, without a newline at its end."""
        columns = self._columns() if callable(self._columns) else self._columns
        rows = [[str(cell(record)) for cell in columns.values()] for record in self.values()]
        lines = [list(columns), ["---"] * len(columns), *rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
