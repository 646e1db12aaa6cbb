"""One training at a time in a run directory."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tl_jax.errors import UserError
from tl_jax.run_files import LOCK_FILE as FILE
from tl_jax.training.checkpoint import ResumeError
from tl_jax.training.lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from tl_jax.training.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.take()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_whoever_comes_second_is_refused_until_it_is_given_back(home: Path) -> None:
    first, second = RunLock(home), RunLock(home)
    first.check()
    assert not home.exists()
    first.take()
    first.take()
    for refused in (second.check, second.take):
        with pytest.raises(ResumeError, match=rf"another training is running there \(process {os.getpid()} on .*since"):
            refused()
    first.release()
    second.check()
    second.take()
    second.release()


def test_a_lock_that_is_forgotten_is_free(home: Path) -> None:
    lock = RunLock(home)
    lock.take()
    del lock
    RunLock(home).take()


def test_a_killed_process_leaves_no_lock(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, home], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "taken\n"
        with pytest.raises(ResumeError, match=f"process {holder.pid} on"):
            RunLock(home).take()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert json.loads((home / FILE).read_text())["pid"] == holder.pid
        lock = RunLock(home)
        lock.take()
        assert json.loads((home / FILE).read_text())["pid"] == os.getpid()
        lock.release()


def of_another_machine(home: Path, beat: int = 3) -> None:
    home.mkdir(exist_ok=True)
    row = {"host": "elsewhere", "pid": 7, "since": "noon", "beat": beat}
    (home / FILE).write_text(json.dumps(row))


def test_another_machines_lock_counts_while_its_number_moves(home: Path) -> None:
    of_another_machine(home)
    moves = threading.Timer(0.1, of_another_machine, (home, 4))
    moves.start()
    with pytest.raises(ResumeError, match="process 7 on elsewhere, since noon"):
        RunLock(home, beat=0.05, patience=20).take()
    moves.join()
    lock = RunLock(home, beat=0.05, patience=0.2)
    lock.take()
    assert json.loads((home / FILE).read_text())["pid"] == os.getpid()
    lock.release()


def test_without_locks_of_the_file_system_the_number_decides(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    first = RunLock(home, beat=0.02)
    first.take()
    with pytest.raises(ResumeError, match=f"process {os.getpid()} on"):
        RunLock(home, beat=0.02).take()
    first.release()
    RunLock(home, beat=0.02).take()


def test_one_of_two_that_waited_for_the_same_dead_holder_gets_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(os, "getpid", threading.get_ident)  # threads stand for processes
    of_another_machine(home)
    held: list[RunLock] = []
    refused: list[ResumeError] = []

    def begin() -> None:
        lock = RunLock(home, beat=0.5, patience=0.5)
        try:
            lock.take()
            held.append(lock)
        except ResumeError as error:
            refused.append(error)

    starts = [threading.Thread(target=begin) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert (len(held), len(refused)) == (1, 1)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"host": 1}', "\0" * 99, "[" * 5000])
def test_a_broken_record_counts_as_none(home: Path, broken: str) -> None:
    home.mkdir()
    (home / FILE).write_text(broken)
    RunLock(home).take()


def test_what_cannot_be_locked_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^\S+file: cannot be written: a file is there"):
        RunLock(tmp_path / "file").take()
