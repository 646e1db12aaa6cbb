"""A run whose directory is in a bucket: on this machine is a copy of its small files, which a training works on.

Checkpoints go straight to the bucket. What else a run writes is added to and renamed, which a bucket cannot do: it is
written here and copied there before a checkpoint counts as one, at least every minute, and at the end. A start that
finds other files in the bucket than were last copied works with those.
"""

from __future__ import annotations

import json
import logging
import weakref
from contextlib import suppress
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any

from tl_jax.addresses import address_of, files_here, travels
from tl_jax.bucket import Folder
from tl_jax.errors import UserError
from tl_jax.files import told, write_json
from tl_jax.training.bucket_lock import BucketLock
from tl_jax.training.lock import RunLock

EVERY = 60.0
"""Seconds after which files are copied to the bucket at the latest."""
_COPIED = ".copied.json"
_LOCK_HERE = ".lock-generation"
_log = logging.getLogger(__name__)


def run_lock(directory: Path) -> RunLock:
    """The lock on a run directory: of a bucket, or of this machine's file system."""
    address = address_of(directory)
    return RunLock(directory) if address is None else BucketRun(directory, address)


class BucketRun(RunLock):
    """The lock on a run in a bucket and on its copy here, which is brought up to date when it is taken.

    Args:
        directory: of the copy.
        address: of the run.
    """

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory)
        self._home, self._folder = directory, Folder(address)
        self._lock_there = BucketLock(self._folder, directory / _LOCK_HERE)
        self._busy = RLock()
        self._ended: weakref.finalize[Any, BucketRun] | None = None

    @property
    def holder(self) -> str:
        """Some hexadecimal digits; empty until the lock is taken."""
        return self._lock_there.key[:8]

    def check(self) -> None:
        """Also brings the copy up to date."""
        super().check()
        self.fetch()

    def take(self) -> None:
        if self._ended is not None:
            return
        super().take()
        try:
            self._lock_there.take()
            self.fetch()
        except BaseException:
            self.release()
            raise
        ended = Event()
        copying = Thread(target=_keep_copying, args=(weakref.ref(self), EVERY, ended), daemon=True)
        copying.start()
        self._ended = weakref.finalize(self, ended.set)

    def release(self) -> None:
        if self._ended is not None:
            self._ended()
        with self._busy:  # what is being copied is, before another training may begin
            self._ended = None
            self._lock_there.release()
            super().release()

    def fetch(self) -> None:
        """Brings the files of the bucket here, unless they are those that were last copied from here or to here."""
        there = {name: one for name, one in self._folder.objects().items() if travels(name)}
        last = {name: row[0] for name, row in self._copied().items()}
        if last != {name: one.generation for name, one in there.items()}:
            self._folder.fetch(there, self._home)
            here = files_here(self._home)
            self._note({name: self._row(name, one.generation) for name, one in there.items() if name in here})

    def publish(self) -> None:
        """Copies the files that have changed to the bucket, as long as the lock is held.

        Raises:
            ResumeError: another training has taken the run over.
            BucketError: they cannot be written.
        """
        with self._busy:
            if self._ended is None:
                return
            self._lock_there.renew()
            before = self._copied()
            copied = dict(before)
            try:
                for name in sorted({*before, *files_here(self._home)}):
                    self._publish(name, copied)
            finally:
                if copied != before:
                    self._note(copied)

    def _publish(self, name: str, copied: dict[str, list[int]]) -> None:
        """Copies a file that has changed, or deletes the copy of one that is gone. What is there has to be what was
        copied last: a holder that stood still since it renewed the lock would write over files of the next one."""
        last, content = copied.get(name, [0]), None
        with told(self._home / name, "cannot be read"), suppress(FileNotFoundError):
            row = self._row(name, last[0])
            if row == last:
                return
            content = (self._home / name).read_bytes()
        if content is None:
            self._lock_there.renew()
            self._folder.delete(name)
            copied.pop(name, None)
            return
        written = self._folder.write(name, content, replacing=last[0])
        if written is None:
            self._lock_there.renew()  # if it is ours, so is what is there: it was not noted
            written = self._folder.write(name, content) or 0
        copied[name] = [written, *row[1:]]

    def _row(self, name: str, generation: int) -> list[int]:
        """What is noted of a file that is the same here as there."""
        status = (self._home / name).stat()
        return [generation, status.st_size, status.st_mtime_ns]

    def _copied(self) -> dict[str, list[int]]:
        """What was the same here and there at last; nothing where that is not known."""
        try:
            found: dict[str, list[int]] = json.loads((self._home / _COPIED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _note(self, rows: dict[str, list[int]]) -> None:
        write_json(self._home / _COPIED, rows)


def _keep_copying(run: weakref.ref[BucketRun], every: float, ended: Event) -> None:
    """Runs in a thread of its own as long as the lock is held."""
    while not ended.wait(every):
        held = run()
        if held is None:
            return
        try:
            held.publish()
        except UserError as error:
            _log.warning("warning: %s; it is tried again", error)
        del held
