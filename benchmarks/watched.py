"""Short runs of training that are watched, killed and compared from outside, for `kills.py`."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tests.processes import launch, launch_together
from tests.runs import metrics, rows, state
from tl_jax.config import RlConfig, SftConfig
from tl_jax.errors import UserError
from tl_jax.manifest import check_manifest

GLANCE = 0.005
"""Seconds between two looks at a run."""
PATIENCE = 1800
"""Seconds after which a start that should come to its end hangs; other work may keep the machine busy."""
LEFTOVERS = ("*.orbax-checkpoint-tmp*", "*.partial", ".*.new")
"""Names of what is still being written, and should be gone once a run is done."""


class Visit(NamedTuple):
    """A phase that a run went through."""

    phase: str
    seconds: float


class Death(NamedTuple):
    """How a start was killed."""

    phase: str
    """what it was busy with"""
    survivor: str | None
    """how the other process ended, if it was not killed at once"""


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    command: str
    """sft or rl"""
    processes: int

    def __str__(self) -> str:
        return f"{self.command}, {self.processes} process{'es' if self.processes > 1 else ''}"

    @property
    def name(self) -> str:
        return f"{self.command}{self.processes}"

    @property
    def phases(self) -> Sequence[str]:
        """In their order. compile = until the first step is done; sampling and update only after it."""
        sampling = ("sampling",) if self.command == "rl" else ()
        return ("start", "compile", *sampling, "update", "checkpoint", "shutdown")

    @property
    def steps(self) -> int:
        return {"sft": 14, "rl": 4}[self.command]

    def config(self, run_dir: Path, model: Path, data: Path) -> SftConfig | RlConfig:
        """Of a few seconds; reinforcement learning in episodes of two turns, with a critic and an adaptive KL."""
        common = {
            "run_dir": run_dir,
            "steps": self.steps,
            "log_every": 1,
            "model": {"path": model, "dtype": "float32"},
            "mesh": {"fsdp": self.processes},
        }
        if self.command == "sft":
            special: dict[str, Any] = {
                "checkpoint": {"every": 7},
                "data": {"path": data, "max_length": 160, "batch_size": 4},
                "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "weight_decay": 0.01},
            }
            return SftConfig.model_validate(common | special)
        special = {
            "checkpoint": {"every": 2},
            "data": {"path": data, "max_prompt_length": 400},
            "environment": "replay",
            "max_turns": 2,
            "batch_size": 2,
            "group_size": 2,
            "curriculum": {"share": 0.5},
            "eval_prompts": 1,
            "reward": {"monotone": 1.0, "live": 0.5, "tests.training.deadly:noted": 1.0},
            "sampling": {"max_new_tokens": 12},
            "algorithm": {"minibatches": 2, "kl_target": 0.5, "missing_eos_penalty": 0.5},
            "actor": {"learning_rate": 1e-3},
            "critic": {"learning_rate": 1e-3},
        }
        return RlConfig.model_validate(common | special)


class Start:
    """One start of a run, which goes on where the directory stands.

    Args:
        kind: of the run.
        config: what it is started with.
        environment: more variables of its processes.
    """

    def __init__(self, kind: Kind, config: SftConfig | RlConfig, **environment: str) -> None:
        self.kind, self.run = kind, config.run_dir
        self._log, self._noted = self.run / "log.txt", self.run.with_suffix(".noted")
        self._logged, self._from = _size(self._log), newest_checkpoint(self.run)
        self._began = time.time()
        environment |= {"NOTED": str(self._noted)}
        several = kind.processes > 1
        self._processes = (
            launch_together(config, kind.processes, **environment)
            if several
            else [launch(config, devices=1, **environment)]
        )

    def phase(self) -> str:
        """What it is busy with, or was when it was killed."""
        if _size(self._log) <= self._logged:
            return "start"
        done = [row for row in rows(self.run, "metrics") if row["time"] >= self._began]
        if not done:
            return "compile"
        if any((self.run / "checkpoints").glob(LEFTOVERS[0])):
            return "checkpoint"
        if done[-1]["step"] == self.kind.steps:
            return "shutdown"
        sampled = self.kind.command == "sft" or _changed(self._noted) > done[-1]["time"]
        return "update" if sampled else "sampling"

    def watch(self) -> list[Visit]:
        """Its phases, once it is over."""
        visits, phase, since = list[Visit](), "start", time.monotonic()
        while self.alive():
            time.sleep(GLANCE)
            if (now := self.phase()) != phase:
                visits.append(Visit(phase, time.monotonic() - since))
                phase, since = now, time.monotonic()
        return [*visits, Visit(phase, time.monotonic() - since)]

    def wait_for(self, phase: str, number: int, seconds: float) -> None:
        """Waits until it has come to a phase (``number`` from 0: so often), and some seconds more while it lasts."""
        before, until = "", float("inf")
        while self.alive() and time.monotonic() < until:
            now = self.phase()
            if before == phase != now and until < float("inf"):
                return  # it was shorter than expected
            if now == phase != before:
                if number == 0:
                    until = time.monotonic() + seconds
                number -= 1
            before = now
            time.sleep(GLANCE)

    def kill(self, ranks: Sequence[int], patience: float) -> Death:
        """Ends some of its processes by SIGKILL, and the others too if they do not end within ``patience`` seconds."""
        for rank in ranks:
            self._processes[rank].kill()
        for rank in ranks:
            self._processes[rank].wait()
        phase = self.phase()
        others = [process for rank, process in enumerate(self._processes) if rank not in ranks]
        until = time.monotonic() + patience
        for process in others:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        ends = [process.poll() for process in others]
        for process in self._processes:
            process.kill()
            process.communicate()
        told = ", ".join("was killed too" if code is None else f"exit code {code}" for code in ends)
        return Death(phase, told or None)

    def problem(self) -> str | None:
        """Waits for its end; what is wrong if that is not success."""
        shown = []
        try:
            for process in self._processes:
                shown.append(process.communicate(timeout=PATIENCE)[1][-2000:])
        except subprocess.TimeoutExpired:
            return f"goes on after {PATIENCE} seconds"
        finally:
            for process in self._processes:
                process.kill()
        codes = [process.returncode for process in self._processes]
        return None if not any(codes) else f"exit codes {codes}: {' | '.join(shown)}"

    def went_on(self) -> bool:
        """Whether it has gone on from the newest checkpoint there was, as far as it has come."""
        with suppress(OSError), self._log.open(encoding="utf-8") as file:
            file.seek(self._logged)
            found = re.search(r" continuing .* from step (\d+) of ", text := file.read())
            return not text or (int(found[1]) if found else None) == self._from
        return True

    def alive(self) -> list[int]:
        """The ranks of the processes that are not over."""
        return [rank for rank, process in enumerate(self._processes) if process.poll() is None]


def newest_checkpoint(run: Path) -> int | None:
    """The step after which the newest whole checkpoint was saved."""
    return max((int(place.name) for place in (run / "checkpoints").glob("*") if place.name.isdecimal()), default=None)


def differences(run: Path, expected: Path, steps: int) -> list[str]:
    """In what a run that is done differs from another one."""
    found = [name for name in ("samples", "held_out") if _text(run / name) != _text(expected / name)]
    if metrics(run) != metrics(expected):
        found.append("metrics")
    try:
        if not check_manifest(run / "checkpoints" / str(steps)):
            return [*found, "the last checkpoint is not there, or has no checksums"]
    except UserError as error:
        return [*found, str(error)]
    ours, theirs = (_leaves(place, steps) for place in (run, expected))
    found += [f"state{name}" for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    for name in ("data", "frozen"):
        one, other = (_record(place, steps)[name] for place in (run, expected))
        if one != other:
            found.append(f"{name} of the checkpoint: {one} instead of {other}")
    left = [str(path.relative_to(run)) for pattern in LEFTOVERS for path in run.rglob(pattern)]
    return found + [f"left behind: {name}" for name in left]


def _leaves(run: Path, step: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of each array of a checkpoint: NaN equals NaN, and 0 is not -0."""
    arrays = jax.tree_util.tree_leaves_with_path(state(run, step))
    described = ((jax.tree_util.keystr(path), np.asarray(array)) for path, array in arrays)
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in described}


def _record(run: Path, step: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "checkpoints" / str(step) / "record" / "metadata").read_text())
    return found


def _text(stem: Path) -> str | None:
    return next((file.read_text() for file in stem.parent.glob(f"{stem.name}.json*")), None)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _changed(file: Path) -> float:
    return file.stat().st_mtime if file.is_file() else 0.0
