"""Does a run that is killed at any moment go on bit for bit? `tl-jax sft` and `tl-jax rl`, in one and in two processes.

    python -m benchmarks.kills --out runs/kills

A tiny model and its data are made first, and each kind of run is done without interruption, twice: compiled, and
from the compilation cache. Then runs are killed by SIGKILL at random moments, each aimed at the phase that has seen
the fewest, and started again with the same command, which may be killed again, until they are done. Parameters,
optimizer state, data position, metrics and samples have to equal the uninterrupted run's bit for bit. Of two
processes one or both are killed; the other one then has a few seconds to end, as whatever starts several processes
gives it.

Printed is how many runs were killed in each phase, how many went on from the newest checkpoint, how many ended
equal. All kills are in OUT/kills.json; the directories of runs that differ are kept, and the exit code is 1.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import jax
from rich.console import Console
from rich.table import Column, Table

from benchmarks.watched import Kind, Start, Visit, differences, newest_checkpoint
from tests.processes import finish, launch
from tests.tiny import write_model, write_recordings
from tl_jax.config import SftConfig
from tl_jax.files import write_json

AGAIN = 0.5
"""How probably a start that goes on is killed as well, if there are kills left."""
SURVIVES = 3.0
"""Seconds after which a process whose partner was killed is killed too."""
MISSES = 10
"""How often a start may be over before the moment at which it was to be killed, until this gives up."""
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
CACHE = "JAX_COMPILATION_CACHE_DIR"


@dataclass
class Kill:
    """One of them, and what became of the run."""

    kind: str
    run: str
    aim: str
    """the phase in which it was to come"""
    phase: str
    """the one in which it came"""
    victims: str
    """ranks of the processes that were killed at once"""
    survivor: str | None
    """how the other process ended"""
    checkpoint: int | None
    """step of the newest one then"""
    continued: bool = False
    equal: bool = False
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Uninterrupted:
    """A run that nobody killed."""

    directory: Path
    compiled: list[Visit]
    """its phases when everything was compiled"""
    cached: list[Visit]
    """the same, of a second run that found what was compiled"""


class Study:
    """Kills of runs below ``out``, drawn from ``seed``."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out, self.rng = out, random.Random(seed)
        self._cache, self._numbers = out / "cache", itertools.count(1)
        self._data = write_recordings(out / "train.jsonl")
        self._model = out / "caller"

    def prepare(self) -> None:
        """Trains a model that makes calls, for reinforcement learning to begin with."""
        random_model = write_model(self.out / "model", self._data.read_text().splitlines())
        settings = {
            "run_dir": self._model,
            "steps": 25,
            "model": {"path": random_model, "dtype": "float32"},
            "data": {"path": self._data, "max_length": 160, "batch_size": 8},
            "optimizer": {"learning_rate": 3e-3, "schedule": "constant"},
        }
        finish(launch(SftConfig.model_validate(settings), devices=1, **{CACHE: str(self._cache)}))

    def start(self, kind: Kind, run: Path, cache: Path) -> Start:
        return Start(kind, kind.config(run, self._model, self._data), **{CACHE: str(cache)})

    def uninterrupted(self, kind: Kind) -> Uninterrupted:
        """Such a run, and a second one.

        Raises:
            click.ClickException: they fail, or are not equal to each other.
        """
        runs = [self.out / f"{kind.name}_{name}" for name in ("compiled", "cached")]
        watched = []
        for run in runs:
            start = self.start(kind, run, self._cache)
            watched.append(start.watch())
            if problem := start.problem():
                raise click.ClickException(f"{run}: {problem}")
        if found := differences(runs[1], runs[0], kind.steps):
            raise click.ClickException(f"{kind}: two uninterrupted runs differ: {found}")
        return Uninterrupted(runs[0], *watched)

    def kill_runs(self, kind: Kind, count: int, expected: Uninterrupted) -> Iterator[list[Kill]]:
        """Does ``count`` kills of runs of a kind; those of each run, once it is done."""
        done: list[Kill] = []
        misses = 0
        while len(done) < count:
            run, kills = self.out / f"{kind.name}_{next(self._numbers)}", list[Kill]()
            aim = self._aim(kind, done)
            cold = run.with_suffix(".cache") if aim == "compile" else None
            while len(done) < count and (not kills or self.rng.random() < AGAIN):
                start = self.start(kind, run, cold or self._cache)
                kill = self._kill(start, aim, expected.compiled if cold and not kills else expected.cached)
                if kill is None:
                    misses += 1
                    if (problem := start.problem()) or misses == MISSES:
                        raise click.ClickException(f"{run}: {problem or 'again a start was over before its kill'}")
                    break
                kills.append(kill)
                done.append(kill)
                aim = self._aim(kind, done)
            self._finish(kind, run, cold or self._cache, kills, expected)
            yield kills

    def _aim(self, kind: Kind, kills: Sequence[Kill]) -> str:
        """The phase in which the fewest kills came."""
        phases = self.rng.sample(kind.phases, len(kind.phases))
        return min(phases, key=lambda phase: sum(kill.phase == phase for kill in kills))

    def _kill(self, start: Start, aim: str, expected: Sequence[Visit]) -> Kill | None:
        """Kills a start at a random moment of a phase, which lasts as long as expected; None if it is over first."""
        visits = [visit for visit in expected if visit.phase == aim]
        left = visits[: max(1, round(len(visits) * (1 - (newest_checkpoint(start.run) or 0) / start.kind.steps)))]
        (number,) = self.rng.choices(range(len(left)), [visit.seconds for visit in left])
        start.wait_for(aim, number, self.rng.uniform(0, left[number].seconds))
        if not (ranks := start.alive()):
            return None
        victims = self.rng.choice([ranks, *([rank] for rank in ranks)])
        phase, survivor = start.kill(victims, SURVIVES)
        return Kill(
            kind=str(start.kind),
            run=start.run.name,
            aim=aim,
            phase=phase,
            victims=" and ".join(map(str, victims)),
            survivor=survivor,
            checkpoint=newest_checkpoint(start.run),
            continued=start.went_on(),
        )

    def _finish(self, kind: Kind, run: Path, cache: Path, kills: list[Kill], expected: Uninterrupted) -> None:
        """Continues a run to its end, compares it, and says so of its kills."""
        if not kills:
            shutil.rmtree(run)
            return
        last = self.start(kind, run, cache)
        problem = last.problem()
        problems = [problem] if problem else differences(run, expected.directory, kind.steps)
        went_on = [*(kill.continued for kill in kills[1:]), last.went_on()]
        for kill, continued in zip(kills, went_on, strict=True):
            kill.continued, kill.equal, kill.problems = continued and not problem, not problems, problems
            if not continued:
                kill.problems = [*problems, f"the next start did not go on from step {kill.checkpoint}"]
            told = f"{kill.kind}, {kill.run}: {kill.phase} of {kill.victims}, {kill.problems or 'equal'}"
            Console(stderr=True).print(told, highlight=False, markup=False)
        if not problems and all(went_on):
            for place in (run, cache if cache != self._cache else run):
                shutil.rmtree(place, ignore_errors=True)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/kills"), show_default=True)
@click.option("--kills", default=50, show_default=True, help="How many in all.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--only", type=click.Choice(["sft", "rl"]), help="Kills only such runs.")
@click.option("--processes", type=click.Choice(["1", "2"]), help="Kills only runs of so many.")
def main(out: Path, kills: int, seed: int, only: str | None, processes: str | None) -> None:
    if out.exists() and any(out.iterdir()):
        raise click.ClickException(f"{out}: is not empty; name a new directory, or delete it")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(ENVIRONMENT)
    jax.config.update("jax_platforms", "cpu")
    commands = [only] if only else ["sft", "rl"]
    kinds = [Kind(command, count) for command in commands for count in ([int(processes)] if processes else [1, 2])]
    began, study, done = time.monotonic(), Study(out, seed), list[Kill]()
    study.prepare()
    for index, kind in enumerate(kinds):
        if share := kills // len(kinds) + (index < kills % len(kinds)):
            for of_a_run in study.kill_runs(kind, share, study.uninterrupted(kind)):
                done += of_a_run
                write_json(out / "kills.json", _report(done, time.monotonic() - began))
    Console().print(_table(done, kinds))
    if not all(kill.equal and kill.continued for kill in done):
        raise SystemExit(1)


def _report(kills: list[Kill], seconds: float) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "orbax-checkpoint")},
        "seconds": round(seconds),
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "kills": [asdict(kill) for kill in kills],
    }


def _table(kills: list[Kill], kinds: list[Kind]) -> Table:
    """Rows are the phases in which the kills came."""
    heads = (Column(str(kind), justify="right") for kind in [*kinds, "all"])
    table = Table("killed / continued / equal", *heads)
    for phase in (*dict.fromkeys(phase for kind in kinds for phase in kind.phases), "all"):
        there = [kill for kill in kills if phase in (kill.phase, "all")]
        table.add_row(phase, *(_counts(there, str(kind)) for kind in kinds), _counts(there))
    return table


def _counts(kills: list[Kill], kind: str | None = None) -> str:
    those = [kill for kill in kills if kind in (kill.kind, None)]
    return f"{len(those)} / {sum(kill.continued for kill in those)} / {sum(kill.equal for kill in those)}"


if __name__ == "__main__":
    main()
