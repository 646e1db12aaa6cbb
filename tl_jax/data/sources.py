"""Opening data: a file the readers know, or a dataset on the Hugging Face hub. Every command reads through here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import read_trajectories
from tl_jax.tooluse.schema import DataError, Trajectory

_SUFFIXES = (".jsonl", ".json", ".gz", ".parquet", ".arrow")


def trajectories(path: Path, format: str = "auto", notes: Notes | None = None) -> Iterator[Trajectory]:
    """Trajectories of anything that `opened` opens.

    Args:
        notes: as for `read_trajectories`.

    Raises:
        DataError: nothing there, or a row that is no trajectory.
    """
    with opened(path) as file:
        yield from read_trajectories(file, format, notes=notes)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """What the readers can read: a file or folder as it is, or a copy of a dataset with this id on the hub, which is
    gone afterwards.

    Raises:
        DataError: nothing there. Errors of the readers name ``path``.
    """
    if path.exists():
        yield path
        return
    if path.is_absolute() or len(path.parts) > 2 or path.suffix in _SUFFIXES:
        raise DataError("no such file", path=str(path))
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / path.name
        _save(path, saved)
        try:
            yield saved
        except DataError as error:
            raise error.at(str(path), error.line) from None


def _save(name: Path, folder: Path) -> None:
    """Copies a dataset from the hub into a folder."""
    import datasets

    try:
        datasets.load_dataset(str(name)).save_to_disk(str(folder))
    except Exception as error:  # the library raises dozens of kinds
        problem = f"neither a file, a saved dataset nor a dataset on the hub: {' '.join(str(error).split())}"
        raise DataError(problem, path=str(name)) from error
