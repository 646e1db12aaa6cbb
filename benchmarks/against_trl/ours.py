"""Our side of `run.py`: trains on what a directory holds, and prints what it took."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import numpy as np

from benchmarks.against_trl.bound import matmul_rate, of_prompts, of_rows
from tl_jax.config import RlConfig, SftConfig
from tl_jax.data.loader import Loader
from tl_jax.data.packing import pack
from tl_jax.data.supervision import Example
from tl_jax.model.hf import load_hf, read_config
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.rl.source import Rollouts
from tl_jax.rl.train import run_rl
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.losses import make_loss
from tl_jax.training.sft import make_programs

LENGTH = 2048


class Stopwatch:
    """Wall and processor seconds between the first step's end and the last one's."""

    def __init__(self) -> None:
        self._times: list[tuple[float, float]] = []

    def step(self) -> None:
        self._times.append((time.perf_counter(), time.process_time()))

    def tell(self, loss: float, flops: float) -> None:
        wall, cpu = (last - first for first, last in zip(self._times[0], self._times[-1], strict=True))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        bound = flops / matmul_rate()
        print(json.dumps({"wall": wall, "cpu": cpu, "loss": loss, "memory": memory, "bound": bound}))


def sft(work: Path, settings: dict[str, Any], watch: Stopwatch) -> tuple[float, float]:
    """The first step's loss, and the operations that the timed steps cannot do without."""
    arrays = np.load(work / "examples.npz")
    examples = [
        Example(
            str(number),
            arrays[f"tokens_{number}"],
            arrays[f"labels_{number}"],
            arrays[f"weights_{number}"],
            float(arrays[f"turns_{number}"]),
        )
        for number in range(len(arrays) // 4)
    ]
    rows = settings["rows"]
    config = SftConfig.model_validate(
        {
            "run_dir": work / "run",
            "accumulate": rows,
            "model": {"path": work / "model", "dtype": "float32", "remat": "none"},
            "data": {"path": work / "none", "max_length": LENGTH, "batch_size": rows},
            "optimizer": {"learning_rate": 1e-4, "warmup_steps": 0},
        }
    )
    mesh = make_mesh(config.mesh)
    loader = Loader(pack(examples, LENGTH), rows, 0)
    with jax.set_mesh(mesh):
        model, params = load_hf(work / "model", np.float32)
        programs = make_programs(config, model, make_loss(config.loss), settings["steps"] + 1)
        state = start_state(programs.init, params, mesh)
        step = compile_step(programs.step, state, mesh)
        losses, flops = list[float](), list[float]()
        for _ in range(settings["steps"] + 1):
            batch = next(loader)
            state, metrics = step(state, make_global_array(batch, batch_sharding(mesh)))
            losses.append(float(metrics["loss"]))
            flops.append(of_rows(model, batch))
            watch.step()
    return losses[0], sum(flops[1:])


def rl(work: Path, settings: dict[str, Any], watch: Stopwatch) -> tuple[float, float]:
    """As `sft`. Which prompts come first is drawn: of those of all steps, the timed ones have their share."""
    grpo = settings["kind"] == "grpo"
    algorithm: dict[str, Any] = {"critic_backbone": settings["critic_backbone"], "kl_coef": 0.05}
    if grpo:
        algorithm = {"estimator": "grpo", "kl_coef": 0.0}
    config = RlConfig.model_validate(
        {
            "run_dir": work / "run",
            "steps": settings["steps"] + 1,
            "log_every": 100,
            "checkpoint": {"every": 100},
            "model": {"path": work / "model", "dtype": "float32", "remat": "none"},
            "data": {"path": work / "cases.jsonl", "renderer": "paper"},
            "batch_size": settings["prompts"],
            "group_size": settings["group_size"] if grpo else 1,
            "sampling": {"max_new_tokens": settings["new_tokens"], "temperature": 1.0},
            "algorithm": algorithm | settings.get("algorithm", {}),
            "eval_prompts": 0,
        }
    )
    observe = Rollouts.observe

    def stamped(self: Rollouts, metrics: Any) -> Any:
        seen = observe(self, metrics)
        watch.step()
        return seen

    with patch.object(Rollouts, "observe", stamped):
        loss = float(run_rl(config)["policy_loss"])
    lines = (work / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    whole = of_prompts(read_config(work / "model"), [len(json.loads(line)) for line in lines], settings)
    return loss, whole * settings["steps"] / (settings["steps"] + 1)


def main() -> None:
    work, stdout = Path(sys.argv[1]), sys.stdout
    settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
    watch = Stopwatch()
    sys.stdout = sys.stderr  # the run's own lines
    loss, flops = (sft if settings["kind"] == "sft" else rl)(work, settings, watch)
    sys.stdout = stdout
    watch.tell(loss, flops)


if __name__ == "__main__":
    main()
