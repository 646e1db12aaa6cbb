"""Held-out losses of the demo's trainings with adapters, codes and bfloat16 parameters beside float32.

    make demo && python benchmarks/adapters.py --demo runs/demo --out runs/adapters

Each row is ``tl-jax sft`` with the demo's settings, or ``tl-jax rl`` with benchmarks/rl_seeds/grpo.yaml on the demo's
supervised model, with the settings that stand there. What is finished is not repeated when it is started again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import click

from tl_jax.demo.base import BASE
from tl_jax.demo.session import CONFIGS

GRPO = Path(__file__).parent / "rl_seeds" / "grpo.yaml"


class Variant(NamedTuple):
    """A row of a table."""

    name: str
    settings: Sequence[str] = ()


def adapters(rate: str, *more: str) -> tuple[str, ...]:
    """Adapters of full rank in every matrix of the layers."""
    return ("lora.rank=128", "lora.alpha=128", *more, rate)


SFT = (
    Variant("float32"),
    Variant("bf16", ("model.param_dtype=bfloat16",)),
    Variant("lora", adapters("optimizer.learning_rate=3e-3")),
    Variant("lora_bf16", adapters("optimizer.learning_rate=3e-3", "model.frozen_dtype=bfloat16")),
    Variant("int8", adapters("optimizer.learning_rate=3e-3", "lora.quantize=int8")),
    Variant("nf4", adapters("optimizer.learning_rate=3e-3", "lora.quantize=nf4")),
    Variant("lora_long", adapters("optimizer.learning_rate=3e-3", "steps=510")),
)
RL = (
    Variant("rl_float32"),
    Variant("rl_bf16", ("model.param_dtype=bfloat16",)),
    Variant("rl_lora", adapters("actor.learning_rate=1e-3")),
    Variant("rl_nf4", adapters("actor.learning_rate=1e-3", "lora.quantize=nf4")),
)


@click.command(help=__doc__)
@click.option("--demo", type=click.Path(exists=True, path_type=Path), required=True, help="What make demo wrote.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the runs go.")
@click.option("--rollouts", default=16, show_default=True, help="Of each reinforcement training.")
@click.option("--only", multiple=True, help="Names of some rows.")
def main(demo: Path, out: Path, rollouts: int, only: tuple[str, ...]) -> None:
    data = demo / "data"
    sft = [f"model.path={BASE}", f"data.eval_path={data / 'held_out.jsonl'}", "eval_every=34"]
    rl = [
        f"model.path={demo / 'sft'}",
        f"data.eval_path={data / 'cases.jsonl'}",
        f"steps={rollouts}",
        "eval_prompts=128",
    ]
    for command, config, common, variants in (("sft", CONFIGS / "sft.yaml", sft, SFT), ("rl", GRPO, rl, RL)):
        for variant in variants:
            if not only or variant.name in only:
                run = out / variant.name
                settings = [*common, f"data.path={data / 'train.mae.jsonl'}", f"run_dir={run}", *variant.settings]
                rows = train(command, config, run, settings)
                print(f"| {variant.name} | {' '.join(variant.settings)} | {shown(command, rows)} |", flush=True)


def train(command: str, config: Path, run: Path, settings: Sequence[str]) -> list[Mapping[str, float]]:
    """The metrics of a run, which is made unless it is done."""
    if not (run / "done").is_file():
        run.mkdir(parents=True, exist_ok=True)
        with (run / "output.txt").open("ab") as log:
            words = [sys.executable, "-m", "tl_jax.cli", command, "--config", str(config), *settings]
            subprocess.run(words, check=True, stdout=log, stderr=log)
        (run / "done").touch()
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def shown(command: str, rows: Sequence[Mapping[str, float]]) -> str:
    """Held-out losses in the course of a run; of reinforcement training, the rewards of its last rollouts and greedily."""
    if command == "sft":
        return " | ".join(f"{row['eval_loss']:.4f}" for row in rows if "eval_loss" in row)
    last, sampled = rows[-1], [row["score"] for row in rows[-4:]]
    return f"{last['eval_reward_before']:+.3f} | {last['eval_reward']:+.3f} | {mean(sampled):+.3f}"


if __name__ == "__main__":
    main()
