"""A run in a bucket belongs to one training at a time, whatever machine that is on.

The lock is an object that says who holds it and, as long as the holder lives, is written again and again. Cloud Storage
replaces an object only if it is still the generation that the writer names, so two can never take the same lock, and a
holder that was thought dead notices that another one has it.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any

from tl_jax.bucket import BucketError, Folder
from tl_jax.files import write_text
from tl_jax.run_files import LOCK_FILE
from tl_jax.training.checkpoint import ResumeError

BEAT = 10.0
"""Seconds after which the holder writes it again."""
PATIENCE = 60.0
"""Seconds for which it has to stand still until its holder counts as dead."""


class BucketLock:
    """The lock on a folder.

    Args:
        folder: of the run.
        ours: file on this machine that says which generation was the last one written here. A holder that has died
            here is told from one elsewhere by it, and nobody waits for it.
    """

    def __init__(self, folder: Folder, ours: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._folder, self._ours, self._beat, self._patience = folder, ours, beat, patience
        self._busy = RLock()
        self._generation = 0
        self._holder: bytes | None = None
        self.key = ""
        """hexadecimal, another one whenever it is taken; empty until then"""
        self._end: weakref.finalize[Any, BucketLock] | None = None

    def take(self) -> None:
        """Takes the lock; nobody may be working in the copy of the run on this machine.

        Raises:
            ResumeError: somebody else has it.
        """
        if self._holder is not None:
            return
        generation = self._free_generation()
        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        key = uuid.uuid4().hex
        holder = json.dumps({**who, "key": key}).encode()  # no other has the same content
        written, there = self._write(holder, generation)
        if written is None:
            raise ResumeError(self._refusal(there))
        self._holder, self.key = holder, key
        self._note(written)
        ended = Event()
        beating = Thread(target=_keep, args=(weakref.ref(self), self._beat, ended), daemon=True, name="bucket lock")
        beating.start()
        self._end = weakref.finalize(self, ended.set)

    def renew(self) -> None:
        """Writes the lock again, which proves that it is held.

        Raises:
            ResumeError: another training has taken it over.
        """
        with self._busy:
            if self._holder is None:
                return
            written, there = self._write(self._holder, self._generation)
            if written is None:
                raise ResumeError(
                    f"{self._folder.address}: another training has taken the run over ({_who(there)}), after "
                    "nothing was heard from this one; what this one has saved is there"
                )
            self._note(written)

    def release(self) -> None:
        """Gives it back, if it is held."""
        with self._busy:
            if self._holder is None:
                return
            if self._end is not None:
                self._end()
            with suppress(BucketError):  # whoever comes next waits for it
                self._folder.write(LOCK_FILE, b"", replacing=self._generation)
            self._holder = None

    def _write(self, holder: bytes, replacing: int) -> tuple[int | None, bytes]:
        """The generation in which ``holder`` has the lock, None where it does not; and who has it."""
        written = self._folder.write(LOCK_FILE, holder, replacing=replacing)
        if written is not None:
            return written, holder
        now, there = self._read()
        return now if there == holder else None, there  # the same: it was written, and only the answer got lost

    def _note(self, generation: int) -> None:
        self._generation = generation
        write_text(self._ours, str(generation))

    def _free_generation(self) -> int:
        """What is to be replaced, once nobody holds it."""
        before, holder = self._read()
        if not holder or str(before) == self._last_here():
            return before
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            time.sleep(min(self._beat, self._patience) / 2)
            now, holder = self._read()
            if not holder:
                return now
            if now != before:
                raise ResumeError(self._refusal(holder))
        return before

    def _last_here(self) -> str:
        try:
            return self._ours.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def _read(self) -> tuple[int, bytes]:
        """Generation and content; 0 and nothing where there is no lock."""
        while generation := self._folder.generation(LOCK_FILE):
            with suppress(FileNotFoundError):  # written again meanwhile
                return generation, self._folder.read(LOCK_FILE, generation)
        return 0, b""

    def _refusal(self, holder: bytes) -> str:
        return (
            f"{self._folder.address}: another training is running there ({_who(holder)}); wait for it, stop it, or "
            "choose another run_dir"
        )


def _who(content: bytes) -> str:
    try:
        row = json.loads(content)
        return f"process {int(row['pid'])} on {str(row['host'])!r}, since {str(row['since'])!r}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "who it is was not written"


def _keep(lock: weakref.ref[BucketLock], every: float, ended: Event) -> None:
    """Runs in a thread of its own as long as the lock is held."""
    while not ended.wait(every):
        held = lock()
        if held is None:
            return
        with suppress(BucketError, ResumeError):  # what the run itself writes next says so
            held.renew()
        del held
