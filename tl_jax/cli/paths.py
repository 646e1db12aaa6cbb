"""Paths on the command line: what has to be there, what is written, either of them here or in a bucket."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import click

from tl_jax.addresses import ELSEWHERE, SCHEME, Use, full_name, is_address, place_of, shown
from tl_jax.bucket_files import Output, brought


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


def _check_apart(
    kind: click.Path, path: Path, param: click.Parameter | None, ctx: click.Context | None, written: bool
) -> None:
    """Fails where a line names one file twice, and what is written would take the place of the other.

    Directories, and what holds nothing (``/dev/null``), may be named as often as one likes.
    """
    if param is None or ctx is None or (os.path.exists(path) and not os.path.isfile(path)):
        return
    known = ctx.meta.setdefault(__name__, {}).setdefault(full_name(path), [])
    for other, was_written in known:
        if other is not param and (written or was_written):
            named = other.get_error_hint(ctx).strip("'")
            kind.fail(f"{shown(path)!r} is what {named} names, too; choose another file.", param, ctx)
    known.append((param, written))


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
