"""Files that are there whole or not at all, and errors of the file system as one line."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from tl_jax.errors import UserError

PARTIAL = ".partial"
"""How the name of a file ends that is still being written. A killed run leaves it, and the next one writes over it."""


def write_text(path: Path, text: str) -> None:
    """Writes a file as UTF-8, and the folders it lies in. An older file stays as it is until the new one is on disk.

    Raises:
        UserError: it cannot be written.
    """
    with new_file(path) as file:
        file.write(text)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a line for each text, like `write_text`."""
    with new_file(path) as file:
        file.writelines(line + "\n" for line in lines)


def copy_file(source: Path, target: Path) -> None:
    """Writes what ``source`` holds, like `write_text`."""
    with told(source, "cannot be read"):
        content = source.read_bytes()
    with new_binary_file(target) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, like `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file to write text to, see `new_binary_file`. Where its name ends in ``.gz``, gzip packs it."""
    with new_binary_file(path) as file, _packed(file) if path.suffix == ".gz" else nullcontext(file) as inside:
        text = io.TextIOWrapper(inside, encoding="utf-8")
        try:
            yield text
        finally:
            text.detach()


def _packed(file: BinaryIO) -> BinaryIO:
    """What is written to it is packed by gzip into ``file``; the same text gives the same bytes."""
    return cast(BinaryIO, gzip.GzipFile("", "wb", fileobj=file, mtime=0))


@contextmanager
def new_binary_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once the block has ended without an exception.

    What is no ordinary file, such as ``/dev/stdout`` or a pipe, is written to as it is.

    Raises:
        UserError: it cannot be written.
    """
    with told(path):
        target = Path(os.path.realpath(path))  # a link stays one
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        partial = target.with_name(target.name + PARTIAL)
        with folders(target):
            try:
                with partial.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)


@contextmanager
def folders(path: Path) -> Iterator[None]:
    """Makes the folders that ``path`` lies in; those that were not there go again if the block fails."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_erasable(directory: Path, *needed: Path) -> None:
    """Refuses to erase a directory in which somebody works or from which is read.

    Args:
        needed: what is read, for instance; a path that lies in none is fine.

    Raises:
        UserError: the working directory or one of ``needed`` is ``directory`` or lies in it.
    """
    erased = os.path.realpath(directory)
    for what, name in ((Path(), "the working directory"), *((path, str(path)) for path in needed)):
        if Path(os.path.realpath(what)).is_relative_to(erased):
            raise UserError(f"{directory}: would be erased, and {name} is in it; choose another directory")


def user_cache() -> Path:
    """Where what can be made again is kept: ``tl_jax`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        RuntimeError: the user has no home.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = given if given.is_absolute() else Path.home() / ".cache"  # the specification ignores a relative path
    return home / "tl_jax"


@contextmanager
def told(path: Path, doing: str = "cannot be written") -> Iterator[None]:
    """What the file system refuses inside the block becomes one line, which names the file or else ``path``.

    Raises:
        UserError: instead of an OSError. A reader that went away (``| head``) is none of these.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{error.filename or path}: {doing}: {reason(error)}".replace(PARTIAL, "")) from None


def reason(error: OSError) -> str:
    """Why, in the system's words."""
    if isinstance(error, FileExistsError):
        return "a file is there, where a directory is needed"
    return error.strerror or str(error) or type(error).__name__
