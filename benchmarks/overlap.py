"""What a step of reinforcement learning waits for: rewards, one step off-policy and not, that take no time and that do.

    python -m benchmarks.overlap CASES.jsonl [--seconds 0.02] [--steps 5] [--prompts 16] [--group 8]

The demo's base model answers prompts of the file; ``--seconds`` is what the slow reward waits for each answer, as for a
judge elsewhere. Printed are medians of the steps after the second one, in seconds by the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tl_jax.config import RlConfig, load_config
from tl_jax.demo.course import BASE
from tl_jax.rl.train import run_rl
from tl_jax.tooluse.rewards.score import score
from tl_jax.tooluse.schema import Case

SECONDS = [0.02]
SHOWN = ("seconds_sampling", "seconds_rewards", "seconds_learning")


def slow(prediction: str, case: Case) -> float:
    """The paper's reward from far away."""
    time.sleep(SECONDS[0])
    return score(prediction, case, "paper").value


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("cases", type=Path)
    options.add_argument("--seconds", type=float, default=SECONDS[0])
    for name, default in (("steps", 5), ("prompts", 16), ("group", 8)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    if given.steps < 3:
        options.error(f"--steps {given.steps}: the first two are not counted; 3 or more")
    SECONDS[0] = given.seconds
    table = Table("reward", "steps_off_policy", *SHOWN, "seconds a step")
    for reward in ("paper", f"{__spec__.name}:slow"):
        for old in (0, 1):
            rows = steps(given, reward, old)[2:]
            medians = [statistics.median(row[name] for row in rows) for name in SHOWN]
            whole = statistics.median(row["seconds_sampling"] + row["seconds_learning"] for row in rows)
            table.add_row(reward.partition(":")[2] or reward, str(old), *(f"{x:.3f}" for x in (*medians, whole)))
    Console().print(table)


def steps(given: argparse.Namespace, reward: str, old: int) -> list[dict[str, float]]:
    """What a short run logs, step by step."""
    with tempfile.TemporaryDirectory() as home:
        settings = [
            f"run_dir={home}/run",
            f"model.path={BASE}",
            "model.dtype=float32",
            f"data.path={given.cases}",
            "data.max_prompt_length=1024",
            f"batch_size={given.prompts}",
            f"group_size={given.group}",
            f"steps={given.steps}",
            "sampling.max_new_tokens=48",
            f"reward={reward}",
            "algorithm.estimator=grpo",
            "algorithm.kl_coef=0",
            "algorithm.importance_cap=2",
            f"algorithm.steps_off_policy={old}",
            "eval_prompts=0",
            "log_every=1",
            "data.unwritable=skip",
        ]
        run_rl(load_config(RlConfig, [], settings))
        lines = Path(home, "run/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
