"""Addresses in a bucket of Cloud Storage, ``gs://BUCKET/NAME``, and the paths of this machine that stand for them.

Whoever reads and writes files needs to know nothing of buckets: `place_of` gives the path where the copy of an address
is, `address_of` the address again. What is copied: `tl_jax.bucket`, `tl_jax.bucket_files`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote, unquote

from tl_jax.files import PARTIAL, user_cache
from tl_jax.run_files import CHECKPOINTS, DAMAGED, ENGINE, LOCK_FILE

SCHEME = "gs://"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")
"""Of a bucket, https://cloud.google.com/storage/docs/buckets#naming."""
_LONGEST = 255
"""Bytes of a file's name."""

Use: TypeAlias = Literal["runs", "models", "files", "out"]
"""What a copy here is for: a run's own work; what is read of a model; of anything else; what a command writes."""

ELSEWHERE = (
    "is an address that cannot be used here: runs, models, data and what a command writes may be at gs://BUCKET/NAME, "
    "all else is on this machine's file system. Mount a bucket (Cloud Storage FUSE, for instance) or copy what is "
    "needed (gcloud storage cp -r), and name the directory"
)


def is_address(name: str) -> bool:
    """Whether a name is that of something elsewhere, such as ``gs://bucket/runs``; as a path it would be the directory
    ``gs:`` here."""
    return "://" in name


def place_of(address: str, use: Use) -> Path:
    """Where this machine keeps its copy of what lies at an address.

    It has the name that it has there, which readers may go by, in a folder that no other address shares: what they look
    for beside it can be beside it.

    Raises:
        ValueError: it is no address in a bucket.

    Example:
        >>> place_of("gs://bucket/runs/1", "runs").parts[-2:]
        ('bucket%2Fruns%2F1', '1')
    """
    bucket, *parts = address.removeprefix(SCHEME).rstrip("/").split("/")
    if not address.startswith(SCHEME) or not _NAME.fullmatch(bucket):
        raise ValueError("no address of a bucket: gs://BUCKET/FOLDER is needed")
    if not parts or not all(map(is_plain, parts)):
        raise ValueError("names no folder of the bucket: gs://BUCKET/FOLDER is needed")
    if any(sign in part for sign in "*?[]#" for part in parts):  # libraries below would look for what matches
        raise ValueError("has one of * ? [ ] # in it, which are no part of a plain name in a bucket")
    folder = quote("/".join((bucket, *parts)), safe="")
    if len(folder) > _LONGEST:
        raise ValueError("too long a name for a folder")
    home = _home()
    if home is None:
        raise ValueError("what lies in a bucket needs a directory here: XDG_CACHE_HOME or HOME")
    return home / use / folder / parts[-1]


def address_of(path: Path) -> str | None:
    """The address that a path of `place_of` stands for; None for any other path.

    Example:
        >>> address_of(place_of("gs://bucket/runs/1/", "models"))
        'gs://bucket/runs/1'
        >>> address_of(Path("runs/1"))
    """
    return _address(path.parent.name) if use_of(path) else None


def use_of(path: Path) -> Use | None:
    """What the copy at a path of `place_of` is for; None for any other path."""
    folder = path.parent
    if not path.is_absolute() or folder.parent.parent != _home() or path.name != _last(_address(folder.name)):
        return None
    return next((use for use in get_args(Use) if use == folder.parent.name), None)


def with_addresses(text: str) -> str:
    """A text in which copies, and what is in them, are called by their addresses.

    Example:
        >>> with_addresses(f"{place_of('gs://bucket/a b', 'files')}/x.jsonl:3: broken")
        'gs://bucket/a b/x.jsonl:3: broken'
    """
    home = _home()
    if home is None or str(home) not in text:
        return text
    folder = re.escape(str(home)) + rf"/(?:{'|'.join(get_args(Use))})/([a-z0-9][\w.~%-]*)/"
    return re.sub(folder, _address_before, text, flags=re.ASCII)


def _address_before(found: re.Match[str]) -> str:
    """The address of what is beside a copy, or the path where that is half written and nowhere else."""
    address = _address(found[1])
    name, rest = _last(address), found.string[found.end() :]
    return found[0] if rest.startswith(".") and not rest.startswith(name) else address.removesuffix(name)


def _address(folder: str) -> str:
    return SCHEME + unquote(folder)


def _last(address: str) -> str:
    return address.rpartition("/")[2]


def shown(path: Path) -> str:
    """How a path is called in messages, results and configurations: by the address that it stands for, if it does, or
    that a folder does in which it lies."""
    return with_addresses(str(path))


def full_name(path: Path) -> str:
    """The same, but a path is absolute and without links."""
    name = shown(path)
    return name if name.startswith(SCHEME) else str(path.resolve())


def in_bucket(path: Path) -> bool:
    """Whether a path is one of `etils.epath` to something in a bucket, as Orbax has them."""
    return str(path).startswith(SCHEME)


def _home() -> Path | None:
    try:
        return user_cache() / "gs"
    except RuntimeError:
        return None


def is_plain(part: str) -> bool:
    """Whether a part of an object's name can be a file's name here, and is the same one."""
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part


def travels(name: str) -> bool:
    """Whether a file of a run is copied between the bucket and this machine: neither checkpoints, which only the bucket
    has, nor what is about a process or half written."""
    first, last = name.split("/")[0], name.split("/")[-1]
    return not (first in (CHECKPOINTS, DAMAGED, ENGINE) or last == LOCK_FILE or is_temporary(name))


def is_temporary(name: str) -> bool:
    """Whether a file is what is noted of a copy, or half written."""
    last = name.split("/")[-1]
    return last.startswith(".") or last.endswith(PARTIAL)


def files_here(home: Path) -> list[str]:
    """The names of the files in a copy of a run that travel."""
    names = (file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file())
    return sorted(filter(travels, names))
