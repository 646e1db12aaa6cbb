"""Rows of a file of any kind, each with the place it comes from.

A file is JSON lines, one JSON list or one JSON object, as it is or compressed by gzip; or a table, see `tables`.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from tl_jax.tooluse import strict_json
from tl_jax.tooluse.readers import json_list
from tl_jax.tooluse.readers.nulls import in_table
from tl_jax.tooluse.readers.packed import open_file, refuse
from tl_jax.tooluse.readers.tables import is_table, table_rows
from tl_jax.tooluse.same_name import tell_same_names
from tl_jax.tooluse.schema import Case, DataError, Trajectory

T = TypeVar("T")
_LOOK = 1 << 12
_AS_A_ROW = 'a list of messages is a row as {"messages": [...]}'
_SHOWN = 24
"""Characters of a text before and after an error."""
OnError: TypeAlias = Literal["raise", "skip"]
Report: TypeAlias = Callable[[DataError], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a line of a JSONL file or row of a table (from 1), an item of a JSON list (from 0), or it is
    the whole file."""

    path: Path
    line: int | None = None
    item: int | None = None
    table: bool = False

    @property
    def stem(self) -> str:
        """The file's name without its endings, ``.gz`` included."""
        return Path(self.path.stem).stem if self.path.suffix == ".gz" else self.path.stem

    @property
    def name(self) -> str:
        """An id for a row that has none; the file's name where that is one object."""
        number = self.line if self.item is None else self.item
        return self.stem if number is None else f"{self.stem}:{number}"

    @property
    def index(self) -> int:
        """The row's number, from 0. Blank lines count."""
        return self.item if self.item is not None else (self.line or 1) - 1

    def locate(self, error: DataError) -> DataError:
        """The error with its place."""
        if self.item is None:
            return error.at(str(self.path), self.line)
        field = f"[{self.item}]" + (f".{error.field}" if error.field else "")
        return DataError(error.problem, path=str(self.path), field=field)


Convert: TypeAlias = Callable[[Any, Place], Iterable[T]]
"""Makes objects of one row; raises `DataError` for a bad one."""


Reader: TypeAlias = Callable[[Path, Report | None], Iterator[T]]
"""Reads a file. The error of a bad row goes to the report and the row is left out; without a report it is raised."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row that nobody has looked at yet; fit to be sent to another process."""

    place: Place
    content: Any
    """bytes of JSON, or the value itself"""
    parsed: bool = True
    """whether it is the value"""

    def value(self) -> Any:
        """What the row says.

        Raises:
            DataError: it is not JSON.
        """
        return self.content if self.parsed else parse(self.content)


@dataclass(frozen=True, slots=True)
class EachRow(Generic[T]):
    """The reader of a format in which a row says all by itself: rows may be read in any order, by many processes."""

    convert: Convert[T]

    def __call__(self, path: Path, report: Report | None) -> Iterator[T]:
        return read_rows(path, self.convert, report)


def read_rows(path: str | Path, convert: Convert[T], report: Report | None = None) -> Iterator[T]:
    """What ``convert`` makes of every row, one row at a time for JSONL. Blank lines are ignored.

    Args:
        report: is handed the error of each bad row, which is then left out; None = the first one is raised.

    Raises:
        DataError: a file that cannot be read, or the first bad row; it names file and line, or the list's item.
    """

    return converted(raw_rows(Path(path)), convert, report)


def converted(rows: Iterable[RawRow], convert: Convert[T], report: Report | None = None) -> Iterator[T]:
    """What ``convert`` makes of every row.

    Args:
        report: as for `read_rows`.

    Raises:
        DataError: the first bad row; it names its place.
    """

    def made(row: RawRow) -> Iterable[T]:
        if not row.place.table:
            return convert(row.value(), row.place)
        with in_table():
            return list(convert(row.value(), row.place))

    for row in rows:
        yield from attempt(partial(made, row), row.place, report)


def each_row(convert: Convert[T]) -> Reader[T]:
    """The reader of a format that is one JSON object a row: `read_rows` with this ``convert``."""
    return EachRow(convert)


def attempt(make: Callable[[], Iterable[T]], place: Place, report: Report | None) -> Iterator[T]:
    """What ``make`` returns, one by one; its `DataError` is reported, or raised if there is no ``report``."""
    try:
        made = list(make())
    except (DataError, RecursionError) as error:
        found = error if isinstance(error, DataError) else DataError("is nested too deeply")
        located = found if found.path else place.locate(found)
        if report is None:
            raise located from None
        report(located)
    else:
        for item in made:
            if isinstance(item, (Trajectory, Case)):
                tell_same_names(item.tools)
            yield item


def first_row(path: str | Path) -> tuple[Place, dict[str, Any]]:
    """The first row that is a JSON object.

    Raises:
        DataError: there is none; the first problem, if there was one.
    """
    return first_rows(path, 1)[0]


def first_rows(path: str | Path, number: int) -> list[tuple[Place, dict[str, Any]]]:
    """The first rows that are JSON objects, at least one and ``number`` at most.

    Raises:
        DataError: there is none; the first problem, if there was one.
    """
    problems: list[DataError] = []

    def keep(value: Any, place: Place) -> list[tuple[Place, dict[str, Any]]]:
        if not isinstance(value, dict):
            told = f"; {_AS_A_ROW}" if isinstance(value, list) else ""
            raise DataError(f"must be a JSON object, not {type(value).__name__}{told}", field="row")
        return [(place, value)]

    found = list(islice(read_rows(path, keep, problems.append), number))
    if not found:
        raise problems[0] if problems else DataError("holds no rows", path=str(path))
    return found


def raw_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file one after another; only a file that is one object is held in memory.

    Raises:
        DataError: a file that cannot be read.
    """
    if is_table(path):
        for number, row in enumerate(table_rows(path), 1):
            yield RawRow(Place(path, line=number, table=True), row)
        return
    refuse(path)
    first, number = _first_character(path)
    if first == b"[":
        yield from _items(path, number)
        return
    document = _one_object(path) if first == b"{" else None
    if document is not None:
        yield RawRow(Place(path), document)
        return
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            if line.removeprefix(codecs.BOM_UTF8).strip():
                yield RawRow(Place(path, line=number), line, parsed=False)


def _first_character(path: Path) -> tuple[bytes, int]:
    """The first character of a file that is no blank, nothing if there is none, and its line."""
    with open_file(path) as file:
        content = file.read(_LOOK).removeprefix(codecs.BOM_UTF8)
        number = 1
        while content:
            found = content.lstrip()
            number += content[: len(content) - len(found)].count(b"\n")
            if found:
                return found[:1], number
            content = file.read(_LOOK)
    return b"", number


def _items(path: Path, line: int) -> Iterator[RawRow]:
    """The items of a JSON list that begins at ``line``."""
    try:
        with open_file(path) as file:
            for index, value in enumerate(json_list.items(file)):
                yield RawRow(Place(path, item=index), value)
    except DataError:
        raise
    except ValueError:
        raise _broken_list(path, line) from None


def _broken_list(path: Path, line: int) -> DataError:
    """What is wrong with a list that cannot be read; the whole of it tells where."""
    try:
        with open_file(path) as file:
            head = next(islice(file, line - 1, None))
            if _is_json(head):
                return DataError(f"a row is an object, and no list; {_AS_A_ROW}", path=str(path), line=line)
            parse(head + file.read())
    except DataError as error:
        return error.at(str(path), line - 1 + (error.line or 1))
    return DataError("is not JSON", path=str(path))


def _one_object(path: Path) -> dict[str, Any] | None:
    """The object over many lines that a whole file is; None for JSONL (even of one line) or no JSON."""
    try:
        with open_file(path) as file:
            head = next((line for line in file if line.strip()), b"")
            if _is_json(head):
                return None
            value = parse(head + file.read())
    except DataError:
        return None
    return value if isinstance(value, dict) else None


def _is_json(line: bytes) -> bool:
    try:
        parse(line)
    except DataError:
        return False
    return True


def parse(content: bytes | str) -> Any:
    """Strict JSON: the bytes of a file or a line, perhaps after a byte order mark, or a text that stands in a field.

    Raises:
        DataError: not UTF-8, not JSON (nor are NaN and 1e999), or text that cannot be written again; ``line`` counts
            within ``content``.
    """
    try:
        text = content if isinstance(content, str) else content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        return strict_json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"at column {error.colno}"
        if isinstance(content, str):
            place = _around(content, error.pos)
        elif error.msg.startswith("Expecting"):
            place += "; each line must hold one whole JSON object"
        raise DataError(f"is not JSON: {error.msg.removesuffix(' at')} {place}", line=error.lineno) from None
    except ValueError as error:
        raise DataError(f"is not JSON: {error}") from None


def _around(text: str, at: int) -> str:
    """What stands before and after a place in a text."""
    before, after = text[max(0, at - _SHOWN) : at], text[at : at + _SHOWN]
    return f"after {before!r}, " * bool(before) + (f"before {after!r}" if after else "where it ends")
