"""A run as whoever reads it sees it: where its checkpoints are, which of them are whole, and its files, which are
fetched where the run is in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import orbax.checkpoint as ocp
from etils import epath

from tl_jax.addresses import address_of, in_bucket, place_of, travels
from tl_jax.bucket import BucketError, Folder
from tl_jax.model.directory import BEST_FILE
from tl_jax.run_files import CHECKPOINTS

MODEL = "model"
"""Where a run keeps the configuration and tokenizer of its model."""
COMMITTED = "commit_success.txt"
"""By which Orbax tells in a bucket, which has no renaming, that a checkpoint is whole."""


def checkpoints_of(run: Path) -> Path:
    """The directory of a run's checkpoints; of a run in a bucket it is there, and a path as Orbax has them."""
    address = address_of(run)
    # No `Path` for the type checker, but it opens, lists and joins as one.
    return run / CHECKPOINTS if address is None else cast(Path, epath.Path(address) / CHECKPOINTS)


def for_orbax(directory: Path) -> Path:
    """An absolute path, or one in a bucket as it is: Orbax takes no others."""
    return directory if in_bucket(directory) else directory.resolve()


def is_run(path: Path) -> bool:
    """Whether a directory is that of a run."""
    return address_of(path) is not None or (path / CHECKPOINTS).is_dir()


def whole_steps(directory: Path) -> list[int]:
    """The steps of the finished checkpoints in a run's directory of them, the newest first."""
    if in_bucket(directory):
        names = (name.split("/") for name in Folder(str(directory)).objects())
        steps = [int(parts[0]) for parts in names if len(parts) == 2 and parts[1] == COMMITTED and parts[0].isdecimal()]
    else:
        steps = ocp.path.step.checkpoint_steps(for_orbax(directory)) if directory.is_dir() else []
    return sorted(steps, reverse=True)


def read_copy(run: Path) -> Path:
    """Where a run's files can be read without minding its training: of a run in a bucket, `fetched` beside that."""
    address = address_of(run)
    return run if address is None else fetched(place_of(address, "models"))


def fetched(path: Path) -> Path:
    """The path; what a reader needs of a model in a bucket is there afterwards: of a run all but the checkpoints, which
    are read from there, of any other model everything.

    Raises:
        BucketError: the bucket cannot be read, or holds no model there.
    """
    address = address_of(path)
    if address is None:
        return path
    folder = Folder(address)
    there = {name: stored for name, stored in folder.objects().items() if travels(name)}
    if f"{MODEL}/config.json" in there:
        there = {name: there[name] for name in there if name == BEST_FILE or name.startswith(f"{MODEL}/")}
    elif not there.keys() & {"config.json", "adapter_config.json"}:
        raise BucketError(
            f"{address}: holds no model: neither model/config.json (a run of tl-jax) nor config.json or "
            "adapter_config.json (Hugging Face, a checkpoint of tl-jax, PEFT) is in that folder"
        )
    folder.fetch(there, path)
    return path
