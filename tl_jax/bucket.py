"""What lies in a bucket of Cloud Storage: its names, its copy on this machine, and what is done there besides Orbax.

A path of this machine stands for an address, so that whoever reads and writes files needs to know nothing of buckets:
`place_of` gives the path, `address_of` the address again.
"""

from __future__ import annotations

import base64
import functools
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote

from tl_jax.errors import UserError
from tl_jax.files import PARTIAL, new_binary_file, told, user_cache
from tl_jax.run_files import CHECKPOINTS, DAMAGED, ENGINE, LOCK_FILE

SCHEME = "gs://"
RETRY_SECONDS = 60.0
"""For how long a request is tried again that failed for a reason that may pass."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")
"""Of a bucket, https://cloud.google.com/storage/docs/buckets#naming."""
_LONGEST = 255
"""Bytes of a file's name."""


class BucketError(UserError):
    """A bucket that cannot be read or written; the message names the address and says what to do."""


def place_of(address: str, use: Literal["runs", "models"]) -> Path:
    """Where this machine keeps its copy of what lies at an address: a run's own, or what is read of one.

    Raises:
        ValueError: it is no address of a folder in a bucket.

    Example:
        >>> place_of("gs://bucket/runs/1", "runs").name
        'bucket%2Fruns%2F1'
    """
    bucket, *parts = address.removeprefix(SCHEME).rstrip("/").split("/")
    if not address.startswith(SCHEME) or not _NAME.fullmatch(bucket):
        raise ValueError("no address of a bucket: gs://BUCKET/FOLDER is needed")
    if not parts or not all(map(_is_plain, parts)):
        raise ValueError("names no folder of the bucket: gs://BUCKET/FOLDER is needed")
    name = quote("/".join((bucket, *parts)), safe="")
    if len(name) > _LONGEST:
        raise ValueError("too long a name for a folder")
    home = _home()
    if home is None:
        raise ValueError("what lies in a bucket needs a directory here: XDG_CACHE_HOME or HOME")
    return home / use / name


def address_of(path: Path) -> str | None:
    """The address that a path of `place_of` stands for; None for any other path.

    Example:
        >>> address_of(place_of("gs://bucket/runs/1/", "models"))
        'gs://bucket/runs/1'
        >>> address_of(Path("runs/1"))
    """
    if not path.is_absolute() or path.parent.name not in ("runs", "models") or path.parent.parent != _home():
        return None
    return SCHEME + unquote(path.name)


def shown(path: Path) -> str:
    """How a path is called in messages and configurations: by the address that it stands for, if it does."""
    return address_of(path) or str(path)


def full_name(path: Path) -> str:
    """The same, but a path is absolute and without links."""
    return address_of(path) or str(path.resolve())


def in_bucket(path: Path) -> bool:
    """Whether a path is one of `etils.epath` to something in a bucket, as Orbax has them."""
    return str(path).startswith(SCHEME)


def _home() -> Path | None:
    try:
        return user_cache() / "gs"
    except RuntimeError:
        return None


def _is_plain(part: str) -> bool:
    """Whether a part of an object's name can be a file's name here, and is the same one."""
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part


def travels(name: str) -> bool:
    """Whether a file of a run is copied between the bucket and this machine: neither checkpoints, which only the bucket
    has, nor what is about a process or half written."""
    first, last = name.split("/")[0], name.split("/")[-1]
    return not (
        first in (CHECKPOINTS, DAMAGED, ENGINE) or last == LOCK_FILE or last.startswith(".") or last.endswith(PARTIAL)
    )


def files_here(home: Path) -> list[str]:
    """The names of the files in a copy of a run that travel."""
    names = (file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file())
    return sorted(filter(travels, names))


class Stored(NamedTuple):
    """What Cloud Storage says of an object."""

    size: int
    crc32c: str
    """of its bytes, in base64"""
    generation: int
    """another one whenever it is written"""


class Folder:
    """A folder in a bucket.

    Raises:
        BucketError: here and in every method, where the bucket cannot be reached or refuses.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        self._prefix = prefix.rstrip("/") + "/"
        with reached(address):
            self._bucket = _client(os.environ.get("STORAGE_EMULATOR_HOST")).bucket(bucket)

    def objects(self) -> dict[str, Stored]:
        """Everything below the folder, by its name there.

        Raises:
            BucketError: a name is none that a file here could have.
        """
        with reached(self.address):
            found = list(self._bucket.list_blobs(prefix=self._prefix, retry=_retry()))
        named = {blob.name[len(self._prefix) :]: Stored(blob.size, blob.crc32c, blob.generation) for blob in found}
        named = {name: stored for name, stored in named.items() if name and not name.endswith("/")}  # no mere folders
        for name in named:
            if not all(map(_is_plain, name.split("/"))):
                raise BucketError(f"{self.address}: holds {name!r}, which cannot be the name of a file here")
        return named

    def read(self, name: str, generation: int | None = None) -> bytes:
        """An object's bytes, of a generation or as they are now.

        Raises:
            FileNotFoundError: it is not there, or has been written again.
        """
        with reached(f"{self.address}/{name}"):
            from google.api_core.exceptions import NotFound

            with suppress(NotFound):
                blob = self._bucket.blob(self._prefix + name, generation=generation)
                content: bytes = blob.download_as_bytes(retry=_retry())
                return content
        raise FileNotFoundError(f"{self.address}/{name}")

    def generation(self, name: str) -> int:
        """Of an object as it is now; 0 where there is none."""
        with reached(f"{self.address}/{name}"):
            blob = self._bucket.get_blob(self._prefix + name, retry=_retry())
            return 0 if blob is None else int(blob.generation)

    def write(self, name: str, content: bytes, replacing: int | None = None) -> int | None:
        """Writes an object, whole or not at all.

        Args:
            replacing: the generation that has to be there still, 0 for none; None = whatever is there.

        Returns:
            Its new generation; None where another one was there than is to be replaced.
        """
        with reached(f"{self.address}/{name}"):
            from google.api_core.exceptions import PreconditionFailed

            blob = self._bucket.blob(self._prefix + name)
            try:
                blob.upload_from_string(content, if_generation_match=replacing, retry=_retry())
            except PreconditionFailed:
                return None
            return int(blob.generation)

    def delete(self, name: str) -> None:
        """Deletes an object, if it is there."""
        with reached(f"{self.address}/{name}"):
            from google.api_core.exceptions import NotFound

            with suppress(NotFound):
                self._bucket.blob(self._prefix + name).delete(retry=_retry())

    def fetch(self, objects: Mapping[str, Stored], home: Path) -> None:
        """Brings objects to a directory of this machine, whose other files go, but for those that `travels` denies.

        One that is here as it is there stays; one that is deleted meanwhile is none.
        """
        fetched = set()
        with told(home):
            for name, stored in objects.items():
                with suppress(FileNotFoundError):
                    if not _is_same(home / name, stored):
                        self._fetch(name, home)
                    fetched.add(name)
            for name in files_here(home):
                if name not in fetched:
                    (home / name).unlink(missing_ok=True)

    def _fetch(self, name: str, home: Path) -> None:
        content, file = self.read(name), home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{uuid.uuid4().hex[:8]}.new")  # another process may fetch the same
        try:
            with new_binary_file(new) as target:
                target.write(content)
            os.replace(new, file)
        finally:
            new.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        """Gives an object another name in the folder."""
        with reached(f"{self.address}/{name}"):
            blob = self._bucket.blob(self._prefix + name)
            self._bucket.copy_blob(blob, self._bucket, self._prefix + to, retry=_retry())
            blob.delete(retry=_retry())


def _is_same(file: Path, stored: Stored) -> bool:
    """Whether a file of this machine, if it is there, holds what an object does."""
    import google_crc32c

    if not file.is_file():
        return False
    checksum = google_crc32c.value(file.read_bytes())
    return base64.b64encode(checksum.to_bytes(4, "big")).decode() == stored.crc32c


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)


@functools.cache
def _client(host: str | None) -> Any:
    """One for the process; of an emulator (``host``) another one."""
    import fsspec
    import gcsfs  # noqa: F401  # through which Orbax reads and writes what is no array
    from google.cloud import storage

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises, with a traceback
    # It would not see what others have written since it looked last.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    return storage.Client()


@contextmanager
def reached(place: str) -> Iterator[None]:
    """Whatever keeps a bucket from being used inside the block becomes one line, if ``place`` is in one.

    Raises:
        BucketError: instead of the errors of the libraries for Cloud Storage.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = failure(error) if place.startswith(SCHEME) else None
        if why is None:
            raise
        raise BucketError(f"{place}: {why}") from error


def failure(error: BaseException) -> str | None:
    """What keeps a bucket from being used, and what to do; None where ``error`` is of another kind."""
    if isinstance(error, ImportError):
        return "a bucket needs the extra gcs: pip install 'tl-jax[gcs]'"
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, UserError):
            return str(cause)
        name, home = type(cause).__name__, type(cause).__module__.split(".")[0]
        details = " ".join(str(cause).split())[:200]
        if name == "DefaultCredentialsError":
            return (
                "no credentials for Google Cloud were found: gcloud auth application-default login, or name a service "
                "account's key in GOOGLE_APPLICATION_CREDENTIALS"
            )
        if name in ("Forbidden", "Unauthorized") or "PERMISSION_DENIED" in details:
            return f"Cloud Storage refuses it ({details})"
        if name == "NotFound" or details.startswith("NOT_FOUND: "):
            return f"Cloud Storage has no such bucket or object ({details})"
        if home in ("google", "gcsfs", "requests", "urllib3", "aiohttp") or _STATUS.match(details):
            return f"Cloud Storage cannot be reached ({details or name})"
        cause = cause.__cause__ or cause.__context__
    return None


_STATUS = re.compile(r"(UNAVAILABLE|UNAUTHENTICATED|DEADLINE_EXCEEDED|ABORTED|INTERNAL|FAILED_PRECONDITION): ")
"""How TensorStore's errors begin."""
