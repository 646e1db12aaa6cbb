"""Checkpoints that are no longer as they were written, and the one that a run can continue from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

import orbax.checkpoint as ocp

from tl_jax.files import told
from tl_jax.manifest import DamagedError, check_manifest


def newest_whole(directory: Path) -> tuple[int | None, dict[int, str]]:
    """The newest checkpoint that is as it was written, or has no checksums to tell; None where all are damaged.

    Reads it once, and those that are newer.

    Returns:
        Its step, and what is wrong with each newer one.
    """
    damaged: dict[int, str] = {}
    for step in sorted(ocp.path.step.checkpoint_steps(directory.resolve()), reverse=True):
        try:
            check_manifest(directory / str(step))
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
    home = directory.parent / "damaged"
    with told(home):
        home.mkdir(exist_ok=True)
        for step in steps:
            free = (home / f"{step}{suffix}" for suffix in chain([""], (f".{number}" for number in count(1))))
            (directory / str(step)).rename(next(place for place in free if not place.exists()))
    return home
