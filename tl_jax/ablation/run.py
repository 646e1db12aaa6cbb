"""Stages at work: each a process with a log of its own, those that need nothing more at the same time."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from tl_jax.ablation.plan import Stage
from tl_jax.errors import UserError
from tl_jax.files import told, write_json, write_text
from tl_jax.terminal import say

LOCK = "lock"
LOOK = 0.1
"""Seconds between two looks at the processes."""
PROGRAM = (sys.executable, "-m", "tl_jax.cli")
"""What a stage's words are given to."""
SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""How much of a GPU's memory JAX takes, all at its start."""
OTHERWISE = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_ALLOCATOR")
"""Where one of these is set, the user has said how memory is divided."""
ALL = 0.8
"""What all processes may take together of a GPU's memory; beside it CUDA takes some half a GiB for each."""
PATIENCE = 120.0
"""Seconds in which a training that is told to end may write its checkpoint."""
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Spent:
    """What a stage has cost until now, over all starts."""

    seconds: float = 0.0
    starts: int = 0
    done: bool = False


def spent(stage: Stage) -> Spent:
    """What the stage's record says; nothing where there is none, or one cut off. What was erased is not done."""
    with suppress(OSError, ValueError, TypeError):
        found = Spent(**json.loads(stage.record.read_text(encoding="utf-8")))
        return replace(found, done=found.done and stage.directory.is_dir())
    return Spent()


@dataclass(frozen=True)
class Failure:
    """A stage that ended with an error, or that needs one which did.

    Attributes:
        why: the last line of its log; of one that was never started, whose fault that is.
    """

    stage: Stage
    why: str


@dataclass
class _Job:
    stage: Stage
    process: subprocess.Popen[bytes]
    before: Spent
    began: float = field(default_factory=time.monotonic)

    def ended(self, done: bool) -> Spent:
        """Writes the record."""
        seconds = self.before.seconds + time.monotonic() - self.began
        now = Spent(round(seconds, 1), self.before.starts + 1, done)
        write_json(self.stage.record, vars(now))
        return now


def run_stages(
    stages: Sequence[Stage], out: Path, jobs: int = 1, modules: Sequence[str] = (), tell: Tell | None = None
) -> list[Failure]:
    """Runs the stages that are not done; one that fails keeps only those that need it from being run.

    Ctrl-C and SIGTERM are passed on: trainings write a checkpoint and go on from there at the next start.

    Args:
        stages: those that others need before these.
        out: where only one ablation may be at work.
        jobs: how many processes at once.
        modules: that each process imports first, as ``tl-jax --import``.
        tell: a line whenever a stage begins or ends.

    Raises:
        UserError: another ablation is at work there.
    """
    with _locked(out) as lock, _ended_by_sigterm():
        return _Queue(stages, jobs, modules, lock, tell or (lambda line: say(line, err=True))).run()


class _Queue:
    def __init__(self, stages: Sequence[Stage], jobs: int, modules: Sequence[str], lock: int, tell: Tell) -> None:
        self.stages, self.jobs, self.modules, self.lock, self.tell = stages, jobs, modules, lock, tell
        self.spent = {stage.key: spent(stage) for stage in stages}
        self.failed: dict[str, Failure] = {}
        self.running: list[_Job] = []

    def run(self) -> list[Failure]:
        waiting = [stage for stage in self.stages if not self.spent[stage.key].done]
        if done := len(self.stages) - len(waiting):
            self.tell(f"{done} of {len(self.stages)} stages are done already")
        try:
            while waiting or self.running:
                waiting = [stage for stage in waiting if not self._taken(stage)]
                time.sleep(LOOK)
                self._look()
        finally:
            self._end()
        return list(self.failed.values())

    def _taken(self, stage: Stage) -> bool:
        """Whether it need not wait any more: it is begun, or never will be."""
        if broken := [need for need in stage.needs if need.key in self.failed]:
            self.failed[stage.key] = Failure(stage, f"needs {broken[0].title}, which failed")
            return True
        ready = all(self.spent[need.key].done for need in stage.needs)
        if not ready or len(self.running) >= self.jobs:
            return False
        self.running.append(self._start(stage))
        return True

    def _start(self, stage: Stage) -> _Job:
        if stage.settings:
            write_text(stage.settings_file, stage.settings)
        imports = [word for module in self.modules for word in ("--import", module)]
        command = [*PROGRAM, *imports, *stage.words]
        with told(stage.log):
            stage.log.parent.mkdir(parents=True, exist_ok=True)
            with stage.log.open("ab") as log:
                # A session of its own: Ctrl-C comes here alone, and is passed on. The lock is held by the processes,
                # too: one whose parent was killed keeps a second ablation away until it has ended.
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[self.lock],
                    env=environment(self.jobs),
                )
        return _Job(stage, process, self.spent[stage.key])

    def _look(self) -> None:
        for job in [job for job in self.running if job.process.poll() is not None]:
            self.running.remove(job)
            now = self.spent[job.stage.key] = job.ended(done=job.process.returncode == 0)
            if now.done:
                done = sum(one.done for one in self.spent.values())
                self.tell(f"[{done}/{len(self.stages)}] {job.stage.title}: {duration(now.seconds)}{self._left()}")
            else:
                self.failed[job.stage.key] = failure = Failure(job.stage, _why(job))
                self.tell(f"{job.stage.title} failed: {failure.why}; all of it: {job.stage.log}")

    def _left(self) -> str:
        seconds = seconds_left(self.stages, self.spent)
        return f"; about {duration(seconds / self.jobs)} to go" if seconds else ""

    def _end(self) -> None:
        """Tells what still runs to end, and waits for it."""
        for job in self.running:
            job.process.terminate()
        until = time.monotonic() + PATIENCE
        try:
            for job in self.running:
                job.process.wait(max(0.0, until - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt, SystemExit):  # a second Ctrl-C or SIGTERM: all at once
            for job in self.running:
                job.process.kill()
        for job in self.running:
            job.process.wait()
            job.ended(done=job.process.returncode == 0)


def environment(jobs: int) -> dict[str, str]:
    """Of each of so many processes: what is set, and no more of a GPU's memory than leaves the others as much."""
    inherited = dict(os.environ)
    if jobs == 1 or any(name in inherited for name in OTHERWISE):
        return inherited
    share = ALL / jobs
    with suppress(KeyError, ValueError):
        share = min(share, float(inherited[SHARE]))
    return {**inherited, SHARE: f"{share:.3g}"}


def seconds_left(stages: Sequence[Stage], costs: dict[str, Spent]) -> float | None:
    """How long the stages that are not done will take one after another, each as long as those of its kind took on
    average; None where nothing is known of one."""
    total = 0.0
    for stage in stages:
        if not costs[stage.key].done:
            alike = [costs[one.key].seconds for one in stages if one.kind == stage.kind and costs[one.key].done]
            if not alike:
                return None
            total += sum(alike) / len(alike)
    return total


def duration(seconds: float) -> str:
    """In words.

    Example:
        >>> duration(42), duration(200), duration(8100)
        ('42 s', '3 min', '2 h 15 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    """
    Raises:
        UserError: somebody else holds the lock.
    """
    with told(out / LOCK):
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{out}: another ablation, or a stage that it left behind, is still at work here") from None
        yield lock
    finally:
        os.close(lock)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> Any:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, which alone hears signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _why(job: _Job) -> str:
    """The signal that killed the process, where one did, and the last line that it printed."""
    lines = job.stage.log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    code = job.process.returncode
    return f"killed by {signal.Signals(-code).name} after: {last}" if code < 0 else last
