"""Opening data: a file the readers know, or anything the `datasets` library opens. Every command reads through here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import DataError, Trajectory

_SUFFIXES = (".jsonl", ".json", ".parquet")


def trajectories(path: Path, format: str = "auto") -> Iterator[Trajectory]:
    """Trajectories of anything that `opened` opens.

    Raises:
        DataError: nothing there, or a row that is no trajectory.
    """
    with opened(path) as file:
        yield from read_trajectories(file, format)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A file that the readers can read, with the rows of a JSONL or JSON file, a Parquet file, a saved `datasets`
    directory or a dataset's id on the hub; it may be gone afterwards.

    Raises:
        DataError: nothing there. Errors of the readers name ``path``.
    """
    if path.is_file() and path.suffix != ".parquet":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / f"{path.stem}.jsonl"
        with lines.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(_without_nulls(row), default=str) + "\n" for row in _rows(path))
        try:
            yield lines
        except DataError as error:
            raise error.at(str(path), error.line) from None


def _rows(path: Path) -> Any:
    """The rows of a table; a dataset with splits gives its ``train`` split."""
    import datasets

    if not path.exists() and (path.is_absolute() or len(path.parts) > 2 or path.suffix in _SUFFIXES):
        raise DataError("no such file", path=str(path))
    try:
        if path.is_file():
            return datasets.Dataset.from_parquet(str(path))
        loaded = datasets.load_from_disk(str(path)) if path.is_dir() else datasets.load_dataset(str(path))
    except Exception as error:  # the library raises dozens of kinds
        reason = " ".join(str(error).split())
        raise DataError(
            f"neither a file, a saved dataset nor a dataset on the hub: {reason}", path=str(path)
        ) from error
    if not isinstance(loaded, dict):
        return loaded
    if "train" not in loaded:
        raise DataError(f"has no split 'train', only {', '.join(loaded)}", path=str(path))
    return loaded["train"]


def _without_nulls(value: Any) -> Any:
    """Tables fill every field that another row has with null; a field that is null was not there."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
