"""Rows of a JSONL file, or of a file that is one JSON list, each with the place it comes from."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

from tl_jax.tooluse.schema import DataError

T = TypeVar("T")
OnError: TypeAlias = Literal["raise", "skip"]
Report: TypeAlias = Callable[[DataError], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a line of a JSONL file (from 1) or an item of a JSON list (from 0)."""

    path: Path
    line: int | None = None
    item: int | None = None

    @property
    def name(self) -> str:
        """An id for a row that has none."""
        return f"{self.path.stem}:{self.line if self.item is None else self.item}"

    def locate(self, error: DataError) -> DataError:
        """The error with its place."""
        if self.item is None:
            return error.at(str(self.path), self.line)
        field = f"[{self.item}]" + (f".{error.field}" if error.field else "")
        return DataError(error.problem, path=str(self.path), field=field)


Convert: TypeAlias = Callable[[Any, Place], Iterable[T]]
"""Makes objects of one row; raises `DataError` for a bad one."""


def read_rows(
    path: str | Path, convert: Convert[T], on_error: OnError = "raise", report: Report | None = None
) -> Iterator[T]:
    """What ``convert`` makes of every row, one row at a time for JSONL. Blank lines are ignored.

    Args:
        on_error: "skip" leaves bad rows out and hands each error to ``report``, which is then required.

    Raises:
        DataError: a file that cannot be read, or the first bad row; it names file and line, or item of the list.
    """
    if on_error not in ("raise", "skip") or (on_error == "skip" and report is None):
        raise ValueError("on_error is 'raise', or 'skip' together with a report function")
    return _converted(Path(path), convert, report if on_error == "skip" else None)


def first_row(path: str | Path) -> tuple[Place, dict[str, Any]]:
    """The first row that is a JSON object.

    Raises:
        DataError: there is none; the first problem, if there was one.
    """
    problems: list[DataError] = []

    def keep(value: Any, place: Place) -> list[tuple[Place, dict[str, Any]]]:
        if not isinstance(value, dict):
            raise DataError(f"must be a JSON object, not {type(value).__name__}", field="row")
        return [(place, value)]

    found = next(read_rows(path, keep, "skip", problems.append), None)
    if found is None:
        raise problems[0] if problems else DataError("holds no rows", path=str(path))
    return found


def _converted(path: Path, convert: Convert[T], report: Report | None) -> Iterator[T]:
    for place, load in _rows(path):
        try:
            made = list(convert(load(), place))
        except DataError as error:
            located = place.locate(error)
            if report is None:
                raise located from None
            report(located)
        else:
            yield from made


def _rows(path: Path) -> Iterator[tuple[Place, Callable[[], Any]]]:
    """The place of each row, and a function that parses it."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=str(path)) from None
    with file:
        begun = False
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            if not begun and line.lstrip().startswith(b"["):
                yield from _items(path, number, line + file.read())
                return
            begun = True
            yield Place(path, line=number), lambda line=line: parse(line)  # type: ignore[misc]


def _items(path: Path, line: int, content: bytes) -> Iterator[tuple[Place, Callable[[], Any]]]:
    """The items of a JSON list that begins at ``line``."""
    try:
        items = parse(content)
    except DataError as error:
        raise error.at(str(path), line - 1 + (error.line or 1)) from None
    for index, value in enumerate(items):
        yield Place(path, item=index), lambda value=value: value  # type: ignore[misc]


def parse(content: bytes | str) -> Any:
    """Strict JSON.

    Raises:
        DataError: not UTF-8, not JSON (NaN is not), or text that cannot be written again; ``line`` counts within
            ``content``.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant)
        if "\\u" in text:  # the only way to half a surrogate pair, which no tokenizer and no file takes
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except UnicodeEncodeError:
        raise DataError("holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    except json.JSONDecodeError as error:
        hint = "; each line must hold one whole JSON object" if error.msg.startswith("Expecting") else ""
        raise DataError(f"is not JSON: {error.msg} at column {error.colno}{hint}", line=error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
