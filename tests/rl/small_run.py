"""A run of reinforcement learning that is small enough for a test: its data, its settings, what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tl_jax.config import RlConfig, load_config

TOOLS = [{"name": name, "description": ""} for name in ("find_city", "find_country")]
STEPS, MIDDLE = 12, 9
ROW = 128
"""Tokens that are read at once: rows are alike whatever was written, and a step is compiled once."""


SOONEST = {
    "algorithm__estimator": "rloo",
    "group_size": 2,
    "algorithm__kl_coef": 0,
    "algorithm__minibatches": 1,
}
"""Overrides for the step that is compiled soonest, in a third of PPO's time, where nobody asks what is learnt."""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def question(index: int) -> dict[str, Any]:
    return {"tools": TOOLS, "messages": [{"role": "user", "content": f"Where is Place {index}?"}]}


def ppo_config(run_dir: Path, model: Path, cases: Path, **overrides: Any) -> RlConfig:
    settings = {
        "run_dir": run_dir,
        "model.path": model,
        "model.dtype": "float32",
        "mesh.data": -1,
        "mesh.fsdp": 1,
        "data.path": cases,
        "batch_size": 32,
        "steps": STEPS,
        "eval_prompts": 4,
        "log_every": 3,
        "checkpoint.every": MIDDLE,
        "sampling.max_new_tokens": 12,
        "actor.learning_rate": 1e-3,
        "critic.learning_rate": 1e-3,
        "algorithm.kl_coef": 0.02,
        "algorithm.minibatches": 2,
        "algorithm.tokens_per_microbatch": ROW,
        "algorithm.missing_eos_penalty": 0.5,
    }
    settings |= {name.replace("__", "."): value for name, value in overrides.items()}
    return load_config(RlConfig, [], [f"{key}={value}" for key, value in settings.items()])


def metrics_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
