"""Learning curves of bfloat16 parameters, LoRA and QLoRA beside float32, on the demo's base model and data.

    make demo && python -m benchmarks.curves --data runs/demo/data --out runs/curves

Each row is ``tl-jax sft`` with the demo's own settings and those of its name in VARIANTS, once for each of
``--seeds``. Printed are held-out losses of the first on the way, means over seeds of the held-out loss at the end and
of the training loss of the last 20 steps, and how far both are from float32's: the mean difference from the run with
the same seed, so with the same batches, and its 95 % interval by Student's t. Runs that are done are not repeated when
this is started again. With ``--jobs`` several run at once. ``float32_parts`` computes what float32 does, but for the
last bits of some sums: a row that is no farther from float32 cannot be told from it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from scipy.stats import t

from tl_jax.demo.course import BASE, CONFIGS
from tl_jax.run_files import METRICS_FILE

EVERY, STEPS = 34, 170
"""Steps between two held-out losses of the first seed, and of a run; the other seeds have one loss, at the end."""
ADAPTERS = ("lora.rank=128", "lora.alpha=128")
"""As wide as the model: what keeps them from learning what full training learns is not their rank."""
WHOLE = "lora.modules_to_save=[embed_tokens,lm_head,norm,input_layernorm,post_attention_layernorm]"
RATE = "optimizer.learning_rate"

VARIANTS: Mapping[str, Sequence[str]] = {
    "float32": (),
    "float32_parts": ("accumulate=3",),
    "float32_2e-3": (f"{RATE}=2e-3",),
    "bf16": ("model.param_dtype=bfloat16",),
    "lora_3e-3": (*ADAPTERS, f"{RATE}=3e-3"),
    "lora_1e-2": (*ADAPTERS, f"{RATE}=1e-2"),
    "whole_1e-3": (*ADAPTERS, WHOLE, f"{RATE}=1e-3"),
    "whole_1.5e-3": (*ADAPTERS, WHOLE, f"{RATE}=1.5e-3"),
    "whole_2e-3": (*ADAPTERS, WHOLE, f"{RATE}=2e-3"),
    "whole_int8": (*ADAPTERS, WHOLE, f"{RATE}=2e-3", "lora.quantize=int8"),
    "whole_nf4": (*ADAPTERS, WHOLE, f"{RATE}=2e-3", "lora.quantize=nf4"),
}


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="The data of make demo.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the runs go.")
@click.option("--only", multiple=True, type=click.Choice(tuple(VARIANTS)), help="These rows, beside float32.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="Runs of each row, with seeds 0, 1, ...")
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Runs at the same time.")
def main(data: Path, out: Path, only: tuple[str, ...], seeds: int, jobs: int) -> None:
    names = [name for name in VARIANTS if not only or name in {"float32", *only}]
    with ThreadPoolExecutor(jobs) as pool:
        runs = {
            (name, seed): pool.submit(train, out / name / str(seed), settings_of(name, data, seed))
            for seed in range(seeds)
            for name in reversed(names)  # the slowest rows are the last
        }
        tell({name: [runs[name, seed].result() for seed in range(seeds)] for name in names})


def settings_of(name: str, data: Path, seed: int) -> list[str]:
    """Of a run of `VARIANTS`."""
    settings = [f"data.path={data / 'train.mae.jsonl'}", f"data.eval_path={data / 'held_out.jsonl'}"]
    settings += [f"steps={STEPS}", f"model.path={BASE}", *VARIANTS[name]]
    return [*settings, f"eval_every={STEPS if seed else EVERY}", f"seed={seed}"]


def tell(results: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> None:
    """The table of the metrics of each row's runs, float32's first."""
    header = "| | settings | on the way | held-out loss | training | against float32: held-out | training |"
    print(header + "\n" + "|---" * 7 + "|")
    first: np.ndarray | None = None
    for name, runs in results.items():
        last = np.array([[rows[-1]["eval_loss"], rows[-1]["loss"]] for rows in runs])
        first = last if first is None else first
        curve = " ".join(f"{row['eval_loss']:.3f}" for row in runs[0][:-1] if "eval_loss" in row)
        apart = " | ".join(difference(column) for column in (100 * (last / first - 1)).T)
        ends = " | ".join(f"{mean:.4f}" for mean in last.mean(axis=0))
        print(f"| {name} | {' '.join(VARIANTS[name])} | {curve} | {ends} | {apart} |")


def difference(percent: np.ndarray) -> str:
    """The mean of differences, [seeds], and its interval where there are several."""
    if len(percent) == 1:
        return f"{percent[0]:+.2f} %"
    half = t.ppf(0.975, len(percent) - 1) * percent.std(ddof=1) / np.sqrt(len(percent))
    return f"{percent.mean():+.2f} % ± {half:.2f}"


def train(run: Path, settings: Sequence[str]) -> list[Mapping[str, float]]:
    """The metrics of a run's logged steps, in their order; the run is made unless it is done."""
    if not (run / "done").is_file():
        run.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "tl_jax.cli", "sft", "--config", str(CONFIGS / "sft.yaml"), f"run_dir={run}"]
        with (run / "output.txt").open("ab") as log:
            subprocess.run([*words, *settings], check=True, stdout=log, stderr=log)
        (run / "done").touch()
    steps: dict[int, dict[str, float]] = {}
    for line in (run / METRICS_FILE).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        steps.setdefault(row["step"], {}).update(row)  # an evaluation that was made up for has a line of its own
    return list(steps.values())


if __name__ == "__main__":
    main()
