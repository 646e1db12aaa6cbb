"""A run as whoever reads it sees it: where its checkpoints are, which of them are whole, and its files, which are
fetched where the run is in a bucket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from etils import epath

from tl_jax.addresses import address_of, in_bucket, place_of, travels
from tl_jax.bucket import BucketError, Folder
from tl_jax.manifest import MANIFEST
from tl_jax.model.directory import BEST_FILE
from tl_jax.run_files import CHECKPOINTS

MODEL = "model"
"""Where a run keeps the configuration and tokenizer of its model."""
COMMITTED = "commit_success.txt"
"""By which Orbax tells in a bucket, which has no renaming, that a checkpoint is whole."""
_OF_A_WHOLE_ONE = (COMMITTED, MANIFEST)
"""What a checkpoint in a bucket has at last. A run that was thought dead may write the one, but never both, after
whoever has taken its run over has removed what it had written."""
_CHECKPOINT = re.compile(r"(\d+)(?:\.[0-9a-f]+)?")
"""A `checkpoint_name`."""


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


def checkpoint_name(step: int, holder: str) -> str:
    """What a checkpoint is called: by who wrote it, too, in a bucket, where two might do so at once."""
    return f"{step}.{holder}" if holder else str(step)


def checkpoints_in(directory: Path) -> dict[int, Path]:
    """The finished checkpoints in a run's directory of them by their steps, the newest first."""
    if in_bucket(directory):
        files = Folder(str(directory)).objects().keys()
        names = {name.split("/")[0] for name in files}
        whole = [name for name in names if {f"{name}/{file}" for file in _OF_A_WHOLE_ONE} <= files]
    else:  # where a checkpoint has its name once it is whole, unless it was copied out of a bucket
        places = [place for place in directory.iterdir() if place.is_dir()] if directory.is_dir() else []
        whole = [
            place.name
            for place in places
            if "." not in place.name or all((place / file).is_file() for file in _OF_A_WHOLE_ONE)
        ]
    found = {int(match[1]): directory / name for name in sorted(whole) if (match := _CHECKPOINT.fullmatch(name))}
    return dict(sorted(found.items(), reverse=True))


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
