"""The files of a directory with their sizes and checksums, so that damage is noticed before what they say is used.

CRC-32 finds every flipped bit and every short run of them, at gigabytes a second; it keeps out nobody who
changes a file on purpose. In a bucket the checksums are those that Cloud Storage keeps of every object (CRC-32C): a
list of the objects tells them, and nothing is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tl_jax.addresses import in_bucket
from tl_jax.bucket import Folder
from tl_jax.errors import UserError
from tl_jax.files import reason, write_json
from tl_jax.tooluse import strict_json

MANIFEST = "manifest.json"
_OF_BUCKETS = "crc32c"
_CHUNK = 1 << 22
_THREADS = 4


class DamagedError(UserError):
    """A directory that no longer holds what was written; the message names the file."""


def write_manifest(directory: Path, without: Collection[str] = ()) -> None:
    """Notes every file below ``directory``, which nobody writes to any more, but those named in ``without``.

    Raises:
        UserError: a file cannot be read, or the manifest not be written.
    """
    if in_bucket(directory):
        folder = Folder(str(directory))
        there = sorted(folder.objects().items())
        files = {name: (one.size, one.crc32c) for name, one in there if name != MANIFEST and name not in without}
        folder.write(MANIFEST, json.dumps({"checksum": _OF_BUCKETS, "files": files}, indent=2).encode())
        return
    found = (file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file())
    names = sorted(name for name in found if name != MANIFEST and name not in without)
    with ThreadPoolExecutor(_THREADS) as pool:
        described = list(pool.map(lambda name: _describe(directory / name), names))
    write_json(directory / MANIFEST, {"checksum": "crc32", "files": dict(zip(names, described, strict=True))})


def check_manifest(directory: Path) -> bool:
    """Whether every file is as the manifest says; False where there is none, because nobody wrote it.

    Reads all of the files, but those of which a bucket knows the checksums. Of a checkpoint that was copied out of one,
    the sizes are compared.

    Raises:
        DamagedError: a file is missing, or has another size or other bytes.
        BucketError: the bucket cannot be read, which says nothing of the files.
    """
    manifest = directory / MANIFEST
    remote = Folder(str(directory)) if in_bucket(directory) else None
    there = remote.objects() if remote else {}
    if not (MANIFEST in there if remote else manifest.is_file()):
        return False
    try:
        content = remote.read(MANIFEST) if remote else manifest.read_bytes()
    except OSError as error:
        raise DamagedError(f"{manifest}: cannot be read: {reason(error)}") from None
    algorithm, files = _understood(manifest, content)
    for name, (size, _) in files.items():  # what costs nothing first
        file = directory / name
        if not (name in there if remote else file.is_file()):
            raise DamagedError(f"{file}: is missing")
        now = there[name].size if remote else file.stat().st_size
        if now != size:
            raise DamagedError(f"{file}: has {now} bytes, and had {size} when it was written")
    if algorithm == _OF_BUCKETS:
        found = {name: (files[name][0], there[name].crc32c) for name in files} if remote else files
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(files, pool.map(lambda name: _describe(directory / name), files), strict=True))
    for name in files:
        if found[name][1] != files[name][1]:
            raise DamagedError(f"{directory / name}: other bytes than were written (its checksum differs)")
    return True


def _understood(manifest: Path, content: bytes) -> tuple[str, dict[str, tuple[int, str]]]:
    """How the checksums are made, and size and checksum of every file."""
    try:
        row = strict_json.loads(content.decode())
        files = {name: (size, checksum) for name, (size, checksum) in row["files"].items()}
        algorithm = str(row["checksum"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(f"{manifest}: is damaged itself") from None
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise DamagedError(f"{manifest}: names files elsewhere")
    return algorithm, files


def _describe(file: Path) -> tuple[int, str]:
    """Size and checksum."""
    size, checksum = 0, 0
    try:
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    except OSError as error:
        raise DamagedError(f"{file}: cannot be read: {reason(error)}") from None
    return size, f"{checksum:08x}"
