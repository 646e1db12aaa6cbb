"""Does reinforcement training help? PPO and GRPO from the demo's supervised model, over several seeds.

    make demo && python benchmarks/rl_seeds.py --demo runs/demo --out runs/rl_seeds

Each run is ``tl-jax rl --config benchmarks/rl_seeds/NAME.yaml seed=N`` on the demo's training trajectories, one core
each. Every model answers two sets greedily: the demo's held-out decision points (new values and unseen domains), and as
many from the training trajectories. Printed are mean and standard deviation over the seeds. Takes about an hour on two
cores; finished runs are not repeated when it is started again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from statistics import mean, stdev

import click
from rich.console import Console
from rich.table import Column, Table

from tl_jax.data.prompts import load_cases
from tl_jax.tooluse.readers import read_predictions
from tl_jax.tooluse.rewards.score import score

CONFIGS = Path(__file__).parent / "rl_seeds"
FIGURES = ("reward", "TS", "PI", "CF")
SETS = {"held_out": "held out", "training": "training"}
DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Study:
    demo: Path
    out: Path
    cores: Queue[int]
    """those that are free"""

    def command(self, *words: str | Path) -> None:
        """Runs ``tl-jax`` on one core; its output goes to a log file."""
        core = self.cores.get()
        try:
            with (self.out / "log.txt").open("ab") as log:
                subprocess.run(
                    [sys.executable, "-m", "tl_jax.cli", *map(str, words)],
                    check=True,
                    stdout=log,
                    stderr=log,
                    preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                )
        finally:
            self.cores.put(core)

    def train(self, algorithm: str, seed: int) -> Path:
        """The run directory."""
        run = self.out / f"{algorithm}_{seed}"
        if not (run / "done").is_file():
            data = self.demo / "data/train.mae.jsonl"
            self.command(
                "ppo",
                "--config",
                CONFIGS / f"{algorithm}.yaml",
                f"run_dir={run}",
                f"seed={seed}",
                f"model.path={self.demo / 'sft'}",
                f"data.path={data}",
            )
            (run / "done").touch()
        return run

    def measure(self, model: Path, name: str, of: str) -> dict[str, float]:
        """Mean reward, TS, PI and CF of a model's greedy answers to a set."""
        cases, answers = self.out / f"{of}.jsonl", self.out / "eval" / of / name
        if not (answers / "summary.json").is_file():
            self.command(
                "eval",
                "--model",
                model,
                "--cases",
                cases,
                "--out",
                answers,
                "--overwrite",
                "--dtype",
                "float32",
                "--max-new-tokens",
                "64",
                "--batch-size",
                "32",
            )
        summary = json.loads((answers / "summary.json").read_text(encoding="utf-8"))
        said = read_predictions(answers / "predictions.jsonl")
        reward = mean(score(said[case.id], case).value for case in load_cases(cases))
        return {"reward": reward, **{name: summary[name] for name in FIGURES[1:]}}


@click.command(help=__doc__)
@click.option("--demo", type=DIRECTORY, required=True, help="What make demo wrote: data, sft.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Runs and answers.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each algorithm.")
@click.option("--algorithm", "algorithms", multiple=True, default=("ppo", "grpo"), show_default=True)
def main(demo: Path, out: Path, seeds: int, algorithms: tuple[str, ...]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    cores: Queue[int] = Queue()
    for core in os.sched_getaffinity(0):
        cores.put(core)
    study = Study(demo, out, cores)
    _write_sets(study)
    wanted = [(name, seed) for seed in range(seeds) for name in algorithms]

    def run(task: tuple[str, int]) -> tuple[str, dict[str, dict[str, float]]]:
        name, seed = task
        model = study.train(name, seed)
        return name, {of: study.measure(model, f"{name}_{seed}", of) for of in SETS}

    with ThreadPoolExecutor(cores.qsize()) as pool:
        measured = list(pool.map(run, wanted))
    before = {of: study.measure(demo / "sft", "sft", of) for of in SETS}
    Console().print(_table([("supervised", before)], measured, algorithms))


def _write_sets(study: Study) -> None:
    """The demo's held-out decision points, and as many of its training trajectories."""
    held_out = (study.demo / "data/cases.jsonl").read_text(encoding="utf-8")
    (study.out / "held_out.jsonl").write_text(held_out, encoding="utf-8")
    training = load_cases(study.demo / "data/train.mae.jsonl")
    step = len(training) // len(held_out.splitlines())
    lines = (json.dumps(case.to_json(), ensure_ascii=False) + "\n" for case in training[::step])
    (study.out / "training.jsonl").write_text("".join(lines), encoding="utf-8")


def _table(
    before: list[tuple[str, dict[str, dict[str, float]]]],
    measured: list[tuple[str, dict[str, dict[str, float]]]],
    algorithms: tuple[str, ...],
) -> Table:
    table = Table("decision points", "model", "seeds", *(Column(name, justify="right") for name in FIGURES))
    for of, title in SETS.items():
        table.add_section()
        for index, name in enumerate(("supervised", *algorithms)):
            runs = [figures[of] for found, figures in (*before, *measured) if found == name]
            table.add_row(title if not index else "", name, str(len(runs)), *_cells(runs))
    return table


def _cells(runs: list[dict[str, float]]) -> Iterator[str]:
    for name in FIGURES:
        digits = 3 if name == "reward" else 1
        values = [run[name] for run in runs]
        spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
        yield f"{mean(values):+.{digits}f}{spread}" if name == "reward" else f"{mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
