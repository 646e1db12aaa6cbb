"""Paths on the command line: what has to be there, what is written, either of them here or in a bucket."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import click

from tl_jax.addresses import ELSEWHERE, SCHEME, Use, full_name, is_address, place_of, shown
from tl_jax.bucket_files import Output, brought

_PAGES = (".html", ".png", ".svg")
"""How the names of files end that only people read: these may be written anew beside what they show."""


class ExistingPath(click.Path):
    """An existing file or directory; a missing one is reported with the nearest name beside it."""

    def __init__(self, **kind: bool) -> None:
        super().__init__(exists=True, path_type=Path, **kind)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        value = self._here(value, param, ctx)
        try:
            found = super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            near = difflib.get_close_matches(path.name, names, 1)
            hint = f" Did you mean {str(path.parent / near[0])!r}?" if near and not path.exists() else ""
            raise click.BadParameter(error.message + hint, ctx, param) from None
        _check_apart(self, Path(os.fsdecode(found)), param, ctx, written=False)
        return found

    def _here(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = _place(self, value, "files", param, ctx)
        return value if path is None else brought(path)


class ModelDirectory(ExistingPath):
    """A model: a directory, or one in a bucket, of which all is fetched but the weights of a run."""

    def _here(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = _place(self, value, "models", param, ctx)
        if path is None:
            return value
        from tl_jax.model.run_directory import fetched

        return fetched(path)


class NewPath(click.Path):
    """Where something is written; an empty name would be the working directory. In a bucket it is when the command
    ends, however it does."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("a name is needed.", param, ctx)
        path = _place(self, value, "out", param, ctx)
        if path is not None and ctx is not None:
            output = Output(path)
            ctx.find_root().call_on_close(output.drop)  # the context of a line with a mistake is itself never closed
            ctx.call_on_close(output.publish)
        found = super().convert(value if path is None else path, param, ctx)
        _check_apart(self, Path(os.fsdecode(found)), param, ctx, written=True)
        return found


@dataclass(frozen=True)
class _Named:
    """What an option of a line names."""

    param: click.Parameter
    path: Path
    name: str
    """the same in full"""
    written: bool

    def is_also(self, other: _Named) -> bool:
        """Whether both are one file, of which one is to be written."""
        return self.name == other.name and (self.written or other.written) and not os.path.isdir(self.path)

    def replaces_in(self, other: _Named) -> bool:
        """Whether this is to be written where a folder that is read has a file, other than a page."""
        inside = PurePath(self.name).is_relative_to(other.name) and self.name != other.name
        if not inside or not self.written or other.written or PurePath(self.name).suffix in _PAGES:
            return False
        return os.path.isfile(other.path / PurePath(self.name).relative_to(other.name))


def _check_apart(
    kind: click.Path, path: Path, param: click.Parameter | None, ctx: click.Context | None, written: bool
) -> None:
    """Fails where what is written would take the place of a file that the line reads, or that is in a folder it reads.

    Directories, and what holds nothing (``/dev/null``), may be named as often as one likes.
    """
    if param is None or ctx is None or (os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))):
        return
    this = _Named(param, path, full_name(path), written)
    known: list[_Named] = ctx.meta.setdefault(__name__, [])
    for other in known:
        if other.param is param:
            continue
        if this.is_also(other):
            named = other.param.get_error_hint(ctx).strip("'")
            kind.fail(f"{shown(path)!r} is what {named} names, too; choose another file.", param, ctx)
        for new, read in ((this, other), (other, this)):
            if new.replaces_in(read):
                inside = f"{shown(new.path)!r} would replace a file of {shown(read.path)!r}, which is read"
                kind.fail(f"{inside}; choose another file.", param, ctx)
    known.append(this)


def _place(
    kind: click.Path, value: Any, use: Use, param: click.Parameter | None, ctx: click.Context | None
) -> Path | None:
    """What stands here for an address in a bucket; None where ``value`` is a path."""
    if not str(value).startswith(SCHEME):
        if is_address(str(value)):
            kind.fail(f"{value!r} {ELSEWHERE}.", param, ctx)
        return None
    try:
        return place_of(str(value), use)
    except ValueError as error:
        kind.fail(f"{value!r}: {error}.", param, ctx)


FILE = ExistingPath(dir_okay=False)
DATA = ExistingPath()
"""A file of trajectories or cases, or a saved dataset."""
OUT = NewPath(path_type=Path)
OUT_FILE = NewPath(dir_okay=False, path_type=Path)
