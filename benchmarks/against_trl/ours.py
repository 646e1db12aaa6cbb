"""Our side of `run.py`: trains on what a directory holds, and prints what it took."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
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
from tl_jax.training.chips import chip_of
from tl_jax.training.compile import compile_step, start_state
from tl_jax.training.losses import make_loss
from tl_jax.training.sft import make_programs

LENGTH = 2048


class Stopwatch:
    """Wall and processor seconds, of these the system's, and programs compiled, between the first step's end and the
    last one's."""

    def __init__(self) -> None:
        self._times: list[tuple[float, float, float]] = []
        self._compiled = 0
        jax.monitoring.register_event_duration_secs_listener(self._count)

    def _count(self, event: str, duration_secs: float, **_: Any) -> None:
        self._compiled += len(self._times) > 0 and event == "/jax/core/compile/backend_compile_duration"

    def step(self) -> None:
        self._times.append((time.perf_counter(), time.process_time(), os.times().system))

    def tell(self, done: Done, dtype: str) -> None:
        wall, cpu, system = (last - first for first, last in zip(self._times[0], self._times[-1], strict=True))
        took = {"wall": wall, "cpu": cpu, "system": system, "compiled": self._compiled, "memory": peak_memory()}
        bound = done.flops / multiply_rate(dtype)
        print(json.dumps(took | {"loss": done.loss, "tokens": done.tokens, "bound": bound}))


@dataclass(frozen=True)
class Done:
    """What was done."""

    loss: float
    """of the first step"""
    flops: float
    """that the timed steps cannot do without"""
    tokens: float
    """that the timed steps have, without padding"""


def peak_memory() -> float:
    """GiB, of the accelerator or of this process."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] / 2**30 if stats else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def multiply_rate(dtype: str) -> float:
    """Floating-point operations in a second: the accelerator's peak, or as measured of this processor."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return matmul_rate()
    chip = chip_of(device.device_kind)
    if chip is None:
        raise SystemExit(f"{device.device_kind}: not in tl_jax/training/chips.py, which says what a chip can do")
    return chip.flops if dtype == "bfloat16" else chip.wide_flops


def sft(work: Path, settings: dict[str, Any], watch: Stopwatch) -> Done:
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
    rows, dtype = settings["rows"], settings["dtype"]
    config = SftConfig.model_validate(
        {
            "run_dir": work / "run",
            "accumulate": rows,
            "model": {"path": work / "model", "dtype": dtype, "param_dtype": dtype, "remat": "none"},
            "data": {"path": work / "none", "max_length": LENGTH, "batch_size": rows},
            "optimizer": {"learning_rate": 1e-4, "warmup_steps": 0},
        }
    )
    mesh = make_mesh(config.mesh)
    loader = Loader(pack(examples, LENGTH), rows, 0)
    with jax.set_mesh(mesh):
        model, params = load_hf(work / "model", jnp.dtype(dtype))
        programs = make_programs(config, model, make_loss(config.loss), settings["steps"] + 1)
        state = start_state(programs.init, params, mesh)
        step = compile_step(programs.step, state, mesh)
        losses, flops, tokens = list[float](), list[float](), list[int]()
        for _ in range(settings["steps"] + 1):
            batch = next(loader)
            state, metrics = step(state, make_global_array(batch, batch_sharding(mesh)))
            losses.append(float(metrics["loss"]))
            jax.block_until_ready(state)
            watch.step()
            flops.append(of_rows(model, batch))
            tokens.append(int((np.asarray(batch.segment_ids) > 0).sum()))
    return Done(losses[0], sum(flops[1:]), sum(tokens[1:]))


def rl(work: Path, settings: dict[str, Any], watch: Stopwatch) -> Done:
    """As `sft`; every step has all prompts, so that rows have the lengths for which the first step was compiled."""
    grpo, dtype = settings["kind"] == "grpo", settings["dtype"]
    algorithm: dict[str, Any] = {
        "critic_backbone": settings["critic_backbone"],
        "kl_coef": 0.05,
        "old_log_probs": "sampler",
    }
    if grpo:
        algorithm = {"estimator": "grpo", "kl_coef": 0.0}
    config = RlConfig.model_validate(
        {
            "run_dir": work / "run",
            "steps": settings["steps"] + 1,
            "log_every": 100,
            "checkpoint": {"every": 100},
            "model": {"path": work / "model", "dtype": dtype, "param_dtype": dtype, "remat": "none"},
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
    prompts, timed = [len(json.loads(line)) for line in lines], settings["steps"]
    answers = settings["group_size"] if grpo else 1
    tokens = answers * (sum(prompts) + len(prompts) * settings["new_tokens"])
    return Done(loss, timed * of_prompts(read_config(work / "model"), prompts, settings), timed * tokens)


def main() -> None:
    work, stdout = Path(sys.argv[1]), sys.stdout
    settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
    watch = Stopwatch()
    sys.stdout = sys.stderr  # the run's own lines
    done = (sft if settings["kind"] == "sft" else rl)(work, settings, watch)
    sys.stdout = stdout
    watch.tell(done, settings["dtype"])


if __name__ == "__main__":
    main()
