"""A run directory belongs to one training at a time.

The system's own lock on a file tells processes of one machine apart, and goes away with the process however that ends.
On a file system that does not pass it on to other machines, a record in the same file does: who holds it, and a number
that the holder counts up. A number that stands still belongs to nobody.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from tl_jax.addresses import shown
from tl_jax.files import told
from tl_jax.run_files import LOCK_FILE
from tl_jax.training.checkpoint import ResumeError

BEAT = 5.0
"""Seconds after which the holder counts on."""
_LOOKS = 5
"""How often whoever waits looks, in the time of one beat."""
PATIENCE = 20.0
"""Seconds for which the number has to stand still until another machine's holder counts as dead."""


class Holder(NamedTuple):
    """Who holds a lock."""

    host: str
    pid: int
    since: str
    beat: int = 0
    """counted up as long as the holder lives"""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class RunLock:
    """The lock on a run directory.

    Args:
        directory: may not be there yet; it is made when the lock is taken.
    """

    def __init__(self, directory: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._directory, self._path = directory, directory / LOCK_FILE
        self._beat, self._patience = beat, patience
        self._end: weakref.finalize[Any, RunLock] | None = None

    @property
    def holder(self) -> str:
        """What tells this holder from earlier ones that may still write; empty where there can be none."""
        return ""

    def take(self) -> None:
        """Takes the lock; nothing happens where it is taken already.

        One that a dead process of this machine left is taken over at once, one of another machine after `PATIENCE`.

        Raises:
            ResumeError: somebody else has it.
            UserError: the file cannot be written.
        """
        if self._end is not None:
            return
        with told(self._path):
            self._directory.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                surely = self._claim(file)
                holder = Holder(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S %z"))
                os.truncate(file, 0)
                _write(file, holder)
                if not surely:
                    self._read_back(file, holder)
            except BaseException:
                os.close(file)
                raise
        ended = Event()
        counter = Thread(target=_count, args=(file, holder, self._beat, ended), daemon=True, name="run lock")
        counter.start()
        self._end = weakref.finalize(self, _give_back, file, counter, ended)

    def release(self) -> None:
        """Gives it back, if it is taken."""
        if self._end is not None:
            self._end()
            self._end = None

    def publish(self) -> None:
        """Brings what a run has written to where others look for it: nothing, where it writes there itself."""

    def check(self) -> None:
        """Tells that another process of this machine has it, before anything is done; writes nothing.

        Raises:
            ResumeError: somebody else has it.
        """
        if self._end is None and self._path.is_file():
            with told(self._path, "cannot be opened"):
                file = os.open(self._path, os.O_RDONLY)
                try:
                    self._lock(file, fcntl.LOCK_SH)
                finally:
                    os.close(file)

    def _claim(self, file: int) -> bool:
        """Waits until nobody else holds the file; whether the system's lock alone says so."""
        locked = self._lock(file, fcntl.LOCK_EX)
        holder = _read(file)
        if locked and (holder is None or holder.host == socket.gethostname()):
            return True
        if holder is None:
            return False
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            if (now := _read(file)) != holder:
                raise ResumeError(self._refusal(now or holder))
            time.sleep(self._beat / _LOOKS)
        return False

    def _read_back(self, file: int, holder: Holder) -> None:
        """Looks whether another start that waited for the same record has written over it: the last one has it."""
        time.sleep(2 * self._beat / _LOOKS)
        if (now := _read(file)) != holder:
            raise ResumeError(self._refusal(now))

    def _lock(self, file: int, how: int) -> bool:
        """Whether the file system has locks."""
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise ResumeError(self._refusal(_read(file))) from None
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            return False
        return True

    def _refusal(self, holder: Holder | None) -> str:
        return (
            f"{shown(self._directory)}: another training is running there ({holder or 'who it is was not written'}); "
            "wait for it, stop it, or choose another run_dir"
        )


def _count(file: int, holder: Holder, every: float, ended: Event) -> None:
    """Runs in a thread of its own as long as the lock is held."""
    while not ended.wait(every):
        holder = holder._replace(beat=holder.beat + 1)
        with suppress(OSError):  # a full disk: what the run itself writes says so
            _write(file, holder)


def _give_back(file: int, counter: Thread, ended: Event) -> None:
    ended.set()
    counter.join()
    with suppress(OSError):
        os.truncate(file, 0)
    os.close(file)


def _read(file: int) -> Holder | None:
    """What the file says; None where that is nothing, or half written."""
    try:
        row: Any = json.loads(os.pread(file, 4096, 0))
        return Holder(str(row["host"]), int(row["pid"]), str(row["since"]), int(row["beat"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(file: int, holder: Holder) -> None:
    """In place: a new file would not be the one that is locked. One line that never gets shorter, so it is whole."""
    os.pwrite(file, json.dumps(holder._asdict()).encode(), 0)
    os.fsync(file)  # other machines have to see it
