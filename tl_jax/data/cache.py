"""Data that is encoded once: a folder for each `CacheKey`, with the examples as an ArrayRecord file.

A folder appears whole, is made by one process at a time, and one that is damaged is made anew.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from filelock import FileLock, Timeout

from tl_jax.data.cache_key import CacheKey
from tl_jax.data.parts import EncodedPart
from tl_jax.data.prefixes import Prefixes
from tl_jax.data.records import Records
from tl_jax.data.report import DataReport
from tl_jax.errors import UserError
from tl_jax.files import PARTIAL, told, write_json
from tl_jax.manifest import DamagedError, check_manifest, write_manifest
from tl_jax.terminal import say
from tl_jax.tooluse import strict_json
from tl_jax.tooluse.notes import Notes

EXAMPLES = "examples.array_record"
_FACTS, _LENGTHS, _HASHES, _COUNTS = "facts.json", "lengths.npy", "prefix_hashes.npy", "prefix_counts.npy"
_READ_AT_ONCE = 1 << 15
"""Bytes; a record has some thousands."""


@dataclass(frozen=True)
class EncodedData:
    """All examples of a file of trajectories, in its order."""

    records: Records
    lengths: np.ndarray
    """int32 [N]: tokens of each example"""
    prefixes: Prefixes
    largest_token: int
    report: DataReport
    """without what becomes of the examples in rows"""


def gathered(
    parts: Iterable[EncodedPart], keep: Callable[[bytes], None]
) -> tuple[np.ndarray, Prefixes, int, DataReport]:
    """Lengths, prefixes, largest token and report of all parts together; their records are handed to ``keep``."""
    lengths, hashes, counts = array("i"), array("Q"), array("i")
    largest, report, notes = -1, DataReport(), Notes()
    for part in parts:
        for record in part.records:
            keep(record)
        lengths += part.lengths
        hashes += part.hashes
        counts += part.counts
        largest = max(largest, part.largest_token)
        report.add(part.report)
        notes.add(part.notes)
    report.notes = notes.lines()
    prefixes = Prefixes(np.array(hashes, np.uint64), np.array(counts, np.int32))
    return np.array(lengths, np.int32), prefixes, largest, report


def in_memory(parts: Iterable[EncodedPart]) -> EncodedData:
    """The examples of all parts, kept by this process."""
    records: list[bytes] = []
    return EncodedData(records, *gathered(parts, records.append))


def cached(directory: Path, key: CacheKey, make: Callable[[], Iterable[EncodedPart]], what: str) -> EncodedData:
    """The data that a cache holds under ``key``, and if there is none, what ``make`` gives, from then on.

    Args:
        directory: of the cache.
        what: is encoded, for people.

    Raises:
        UserError: the directory or what is in it cannot be written, or something of ``make``'s own.
    """
    entry = directory / key.name
    with _locked(directory, key.name, what):
        try:
            data = _open(entry, key)
            data.report.notes.append(f"encoded before: {entry}")
        except FileNotFoundError:
            data = None
        except DamagedError as error:
            say(f"tl-jax: encoded data is damaged and made anew: {error}", err=True)
            data = None
        if data is None:
            began = time.monotonic()
            _make(entry, key, make)
            data = _open(entry, key)
            took, size = time.monotonic() - began, (entry / EXAMPLES).stat().st_size
            line = f"encoded in {took:.0f} s and kept ({size / 1e6:,.0f} MB): {entry}"
            data.report.notes.append(line)
        return data


class CachedRecords:
    """The records of a cache. One that is damaged is found when it is read, by its checksum.

    A record is read as a range of one: by its number, as grain's own ``ArrayRecordDataSource`` does it, each reading
    takes time in proportion to the file's records (15 ns each: 25 ms for 1.7 million).

    Args:
        entry: the folder.
    """

    def __init__(self, entry: Path) -> None:
        self._entry, self._lock = entry, Lock()
        self._reader = ArrayRecordReader(
            str(entry / EXAMPLES), "readahead_buffer_size:0", file_reader_buffer_size=_READ_AT_ONCE
        )

    def __len__(self) -> int:
        return int(self._reader.num_records())

    def __getitem__(self, index: int, /) -> bytes:
        try:
            with self._lock:
                return bytes(self._reader.read(index, index + 1)[0])
        except RuntimeError as error:
            with suppress(OSError):
                (self._entry / _FACTS).unlink()
            raise UserError(
                f"{self._entry / EXAMPLES}: is damaged ({error}); the next start encodes the data anew: run the same "
                "command again"
            ) from None


def _open(entry: Path, key: CacheKey) -> EncodedData:
    """What a folder holds.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is not what was written under this key.
    """
    if not entry.exists():
        raise FileNotFoundError
    file = entry / EXAMPLES
    if not check_manifest(entry):
        raise DamagedError(f"{entry}: has no list of its files")
    try:
        facts = strict_json.loads((entry / _FACTS).read_text(encoding="utf-8"))
        lengths, *prefixes = (np.load(entry / name, allow_pickle=False) for name in (_LENGTHS, _HASHES, _COUNTS))
        if facts["key"] != _json(key):
            raise DamagedError(f"{entry}: was made of something else")
        if file.stat().st_size != facts["bytes"]:
            raise DamagedError(f"{file}: has {file.stat().st_size} bytes, and had {facts['bytes']} when it was written")
        records = CachedRecords(entry)
        if not len(records) == len(lengths) == facts["examples"]:
            raise DamagedError(f"{file}: holds {len(records)} examples, not {facts['examples']}")
        return EncodedData(
            records, lengths, Prefixes(*prefixes), int(facts["largest_token"]), DataReport.from_json(facts["report"])
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{entry}: {' '.join(str(error).split())}") from None


def _make(entry: Path, key: CacheKey, make: Callable[[], Iterable[EncodedPart]]) -> None:
    """Writes a folder, which takes the place of an older one at the end."""
    with told(entry):
        new = Path(tempfile.mkdtemp(PARTIAL, f"{entry.name}.", entry.parent))
        try:
            with _writer(new / EXAMPLES) as write:
                lengths, prefixes, largest, report = gathered(make(), write)
            facts = {"examples": len(lengths), "bytes": (new / EXAMPLES).stat().st_size, "largest_token": largest}
            write_json(new / _FACTS, {"key": _json(key), **facts, "report": report.to_json()})
            for name, numbers in ((_LENGTHS, lengths), (_HASHES, prefixes.hashes), (_COUNTS, prefixes.counts)):
                np.save(new / name, numbers, allow_pickle=False)
            write_manifest(new, without=(EXAMPLES,))
            if entry.exists():
                shutil.rmtree(entry)
            new.rename(entry)
        finally:
            shutil.rmtree(new, ignore_errors=True)


@contextmanager
def _writer(file: Path) -> Iterator[Callable[[bytes], None]]:
    """What writes a record to a new file, which is on disk afterwards.

    Raises:
        UserError: it cannot be written.
    """
    writer = ArrayRecordWriter(str(file), "group_size:1")

    def write(record: bytes) -> None:
        try:
            writer.write(record)
        except RuntimeError as error:
            raise _unwritable(file, error) from None

    try:
        yield write
    finally:
        try:
            writer.close()
        except RuntimeError as error:
            raise _unwritable(file, error) from None
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _unwritable(file: Path, error: RuntimeError) -> UserError:
    return UserError(
        f"{file}: cannot be written: {error}; data.cache=DIR keeps encoded data elsewhere, --no-cache in memory only"
    )


@contextmanager
def _locked(directory: Path, name: str, what: str) -> Iterator[None]:
    """One process at a time makes or opens a folder; what killed ones have left goes."""
    with told(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(directory / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"tl-jax: {what}: another process is encoding it; waiting", err=True)
            lock.acquire()
        except NotImplementedError:  # a file system without locks: whoever comes last has the same to put there
            yield
            return
    try:
        for left in directory.glob(f"{name}.*{PARTIAL}"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


def _json(key: CacheKey) -> object:
    """The key as it comes back from a file."""
    return json.loads(json.dumps(key.facts))
