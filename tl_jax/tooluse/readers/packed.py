"""Files as bytes: unpacked where gzip packed them, and refused where they are no data yet."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tl_jax.errors import DataError

_GZIP = b"\x1f\x8b"
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it first (zstd -d)",
    b"BZh": "is packed by bzip2: unpack it first (bunzip2)",
    b"\xfd7zXZ\x00": "is packed by xz: unpack it first (xz -d)",
    b"PK\x03\x04": "is a zip archive: unpack it first",
    b"\xff\xfe\x00\x00": "is UTF-32: write it as UTF-8",  # before UTF-16, which begins likewise
    b"\x00\x00\xfe\xff": "is UTF-32: write it as UTF-8",
    b"\xff\xfe": "is UTF-16: write it as UTF-8",
    b"\xfe\xff": "is UTF-16: write it as UTF-8",
    b"version https://git-lfs": "is not the data but Git LFS's pointer to it: fetch it first (git lfs pull)",
    b"<!DOCTYPE": "is a web page, and not the data that was to be downloaded",
    b"<html": "is a web page, and not the data that was to be downloaded",
}
"""What files begin with that are no data yet, and what to do."""


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked if gzip packed it, whatever it is called.

    Raises:
        DataError: it cannot be read, at once or later.
    """
    try:
        with cast(IO[bytes], gzip.open(path)) if is_packed(path) else path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if path.is_dir():
            reason = "a folder is read if datasets' save_to_disk wrote it, and no other"
        raise DataError(f"cannot be read: {reason}", path=str(path)) from None


def is_packed(path: Path) -> bool:
    """Whether gzip packed a file, whatever it is called."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def refuse(path: Path) -> None:
    """Raises `DataError` for a file that is packed or written in a way that is not read, which its first bytes tell."""
    with open_file(path) as file:
        begin = file.read(max(map(len, _NOT_READ)))
    for mark, problem in _NOT_READ.items():
        if begin.startswith(mark):
            raise DataError(problem, path=str(path))
