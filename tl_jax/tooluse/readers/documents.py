"""Files that hold one JSON object, written over many lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers.rows import Convert, OnError, Place, Report, T, parse, read_rows
from tl_jax.tooluse.schema import DataError


def read_document(
    path: str | Path, convert: Convert[T], on_error: OnError = "raise", report: Report | None = None
) -> Iterator[T]:
    """What ``convert`` makes of the one object in a file; JSONL and JSON lists are read as `read_rows` does.

    Raises:
        DataError: see `read_rows`.
    """
    document = one_object(path)
    if document is None:
        return read_rows(path, convert, on_error, report)
    return attempt(
        lambda: convert(document, Place(Path(path))), Place(Path(path)), report if on_error == "skip" else None
    )


def attempt(make: Callable[[], Iterable[T]], place: Place, report: Report | None) -> Iterator[T]:
    """What ``make`` returns, one by one; its `DataError` is reported, or raised if there is no ``report``."""
    try:
        made = list(make())
    except DataError as error:
        located = error if error.path else place.locate(error)
        if report is None:
            raise located from None
        report(located)
    else:
        yield from made


def one_object(path: str | Path) -> dict[str, Any] | None:
    """The object that a whole file is; None for JSONL (even of one line), a list or a file that is no JSON."""
    try:
        with Path(path).open("rb") as file:
            head = next((line for line in file if line.strip()), b"")
            if not head.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") or _is_json(head):
                return None
            value = parse(b"".join(itertools.chain((head.removeprefix(b"\xef\xbb\xbf"),), file)))
    except (OSError, DataError):
        return None
    return value if isinstance(value, dict) else None


def _is_json(line: bytes) -> bool:
    try:
        parse(line.removeprefix(b"\xef\xbb\xbf"))
    except DataError:
        return False
    return True
