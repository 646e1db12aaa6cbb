"""Checkpoints that are no longer as they were written, and the one that a run can continue from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

from tl_jax.addresses import in_bucket
from tl_jax.bucket import Folder
from tl_jax.files import told
from tl_jax.manifest import DamagedError, check_manifest
from tl_jax.model.run_directory import COMMITTED, checkpoints_in
from tl_jax.run_files import CHECKPOINTS, DAMAGED


def newest_whole(directory: Path) -> tuple[int | None, dict[int, str]]:
    """The newest checkpoint that is as it was written, or has no checksums to tell; None where all are damaged.

    Reads it once, and those that are newer.

    Returns:
        Its step, and what is wrong with each newer one.
    """
    damaged: dict[int, str] = {}
    for step, place in checkpoints_in(directory).items():
        try:
            check_manifest(place)
        except DamagedError as error:
            damaged[step] = str(error)
        else:
            return step, damaged
    return None, damaged


def set_aside(directory: Path, steps: Iterable[int]) -> Path:
    """Moves damaged checkpoints away, so that new ones can have their numbers; nothing is erased.

    Returns:
        Where they are.

    Raises:
        UserError: they cannot be moved.
    """
    home, found = directory.parent / DAMAGED, checkpoints_in(directory)
    if in_bucket(directory):
        for step in steps:
            _set_aside_there(Folder(str(directory.parent)), step, found[step].name)
        return home
    with told(home):
        home.mkdir(exist_ok=True)
        for step in steps:
            free = (home / name for name in _names(step))
            found[step].rename(next(place for place in free if not place.exists()))
    return home


def _set_aside_there(folder: Folder, step: int, checkpoint: str) -> None:
    """In a bucket, an object after another; what says that the checkpoint is whole goes first."""
    names = [name.split("/", 2) for name in folder.objects() if name.count("/") > 1]
    homes = {home for top, home, *_ in names if top == DAMAGED}
    free = next(home for home in _names(step) if home not in homes)
    files = [rest[0] for top, home, *rest in names if (top, home) == (CHECKPOINTS, checkpoint) and rest]
    for file in sorted(files, key=lambda file: file != COMMITTED):
        folder.move(f"{CHECKPOINTS}/{checkpoint}/{file}", f"{DAMAGED}/{free}/{file}")


def _names(step: int) -> Iterator[str]:
    """What a checkpoint is called there: as it was, unless an earlier one is."""
    return chain([str(step)], (f"{step}.{number}" for number in count(1)))
