"""What lies in a bucket of Cloud Storage, and what is done there besides Orbax."""

from __future__ import annotations

import base64
import functools
import io
import logging
import os
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tl_jax.addresses import SCHEME, files_here, is_plain
from tl_jax.errors import UserError
from tl_jax.files import new_binary_file, told

RETRY_SECONDS = 60.0
"""For how long a request is tried again that failed for a reason that may pass."""
_PIECE = 1 << 22
"""Bytes of a file that are looked at together."""


class BucketError(UserError):
    """A bucket that cannot be read or written; the message names the address and says what to do."""


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
        self._prefix = prefix.rstrip("/") + "/" if prefix else ""
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
            if not all(map(is_plain, name.split("/"))):
                raise BucketError(f"{self.address}: holds {name!r}, which cannot be the name of a file here")
        return named

    def read(self, name: str, generation: int | None = None) -> bytes:
        """An object's bytes, of a generation or as they are now.

        Raises:
            FileNotFoundError: it is not there, or has been written again.
        """
        content = io.BytesIO()
        if not self._read_into(content, name, generation):
            raise FileNotFoundError(f"{self.address}/{name}")
        return content.getvalue()

    def _read_into(self, target: BinaryIO, name: str, generation: int | None = None) -> bool:
        """Whether it is there."""
        with reached(f"{self.address}/{name}"):
            from google.api_core.exceptions import NotFound

            with suppress(NotFound):
                self._bucket.blob(self._prefix + name, generation=generation).download_to_file(target, retry=_retry())
                return True
        return False

    def stored(self, name: str) -> Stored | None:
        """An object as it is now; None where there is none."""
        with reached(f"{self.address}/{name}"):
            blob = self._bucket.get_blob(self._prefix + name, retry=_retry())
            return None if blob is None else Stored(blob.size, blob.crc32c, int(blob.generation))

    def generation(self, name: str) -> int:
        """Of an object as it is now; 0 where there is none."""
        stored = self.stored(name)
        return stored.generation if stored else 0

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

    def upload(self, file: Path, name: str, known: Stored | None = None) -> None:
        """Writes a file of this machine, of whatever size, unless it is ``known`` to be there."""
        if known is None or not is_same(file, known):
            with told(file, "cannot be read"), reached(f"{self.address}/{name}"):
                self._bucket.blob(self._prefix + name).upload_from_filename(file, retry=_retry())

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
            _keep_only(home, objects)  # first: where a file was, there may be a folder now
            for name, stored in objects.items():
                with suppress(FileNotFoundError):
                    self.download(name, stored, home / name)
                    fetched.add(name)
            _keep_only(home, fetched)

    def download(self, name: str, stored: Stored, file: Path) -> None:
        """Brings an object, of whatever size, to a file of this machine, unless it is there already.

        Raises:
            FileNotFoundError: it is not in the bucket any more.
        """
        if is_same(file, stored):
            return
        with told(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{uuid.uuid4().hex[:8]}.new")  # another process may fetch the same
        try:
            with new_binary_file(new) as target:
                found = self._read_into(target, name)
            if not found:
                raise FileNotFoundError(f"{self.address}/{name}")
            os.replace(new, file)
        finally:
            new.unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        """Gives an object another name in the folder."""
        with reached(f"{self.address}/{name}"):
            blob = self._bucket.blob(self._prefix + name)
            self._bucket.copy_blob(blob, self._bucket, self._prefix + to, retry=_retry())
        self.delete(name)


def _keep_only(home: Path, names: Collection[str]) -> None:
    """Removes all other files of a directory that travel, and folders in which nothing is left."""
    for name in files_here(home):
        if name not in names:
            (home / name).unlink(missing_ok=True)
            with suppress(OSError):  # something is left
                for folder in (home / name).relative_to(home).parents[:-1]:
                    (home / folder).rmdir()


def is_same(file: Path, stored: Stored) -> bool:
    """Whether a file of this machine, if it is there, holds what an object does."""
    import google_crc32c

    if not file.is_file() or file.stat().st_size != stored.size:
        return False
    checksum = google_crc32c.Checksum()
    with file.open("rb") as content:
        for _ in checksum.consume(content, _PIECE):
            pass
    return base64.b64encode(checksum.digest()).decode() == stored.crc32c


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
