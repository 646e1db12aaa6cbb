"""Seconds of a step of GRPO or PPO, with prompts that stand once in packed rows and with a row for each answer.

    python -m benchmarks.rl_step [--hidden 512] [--prompts 2] [--group 8] [--estimator grpo] [KEY=VALUE ...]

A random model learns from made-up answers to random prompts: scored by policy and reference, one update. "apart" is how
rollouts were read before: every answer in a row of its own behind its prompt, all padded to a power of two or 1.5 times
one. Both make the same update; the norm of its gradient is printed. Compilation is not counted; the least of some runs
in turns is. Processor time is worth more than wall time where other things run.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.small_llama import small_llama
from tl_jax.config import MeshConfig, RlConfig, load_config
from tl_jax.inference.buckets import bucket
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import init_params
from tl_jax.model.sharding import batch_sharding, make_global_array, make_mesh
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.compiled import CompiledRlStep
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.rows import Rows
from tl_jax.rl.rubric import make_rubric
from tl_jax.rl.state import init_rl_state
from tl_jax.rl.train import make_step_spec
from tl_jax.tooluse.schema import Case
from tl_jax.training.compile import start_state

SETTINGS = {
    "grpo": ["algorithm.kl_in=loss", "algorithm.kl_estimator=k3"],
    "gae": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--group", type=int, default=8, help="answers to each prompt")
    parser.add_argument("--prompt", type=int, nargs=2, default=(512, 1024), help="tokens, from and to")
    parser.add_argument("--answer", type=int, default=48, help="tokens of the longest answer")
    parser.add_argument("--estimator", choices=SETTINGS, default="grpo")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="settings of tl-jax rl")
    options = parser.parse_args()
    base = ["run_dir=r", "model.path=m", "data.path=d", "model.dtype=float32", "reward=binary", "mesh.data=1"]
    base += [f"algorithm.estimator={options.estimator}", f"batch_size={options.prompts}", *SETTINGS[options.estimator]]
    base += [f"group_size={options.group}", f"sampling.max_new_tokens={options.answer}"]
    config = load_config(RlConfig, [], [*base, *options.overrides])
    model = small_llama(options.hidden, options.layers)
    episodes = made_up(options.prompts, options.group, options.prompt, options.answer)
    random = np.random.default_rng(1)
    rewards = [random.normal(size=(1, 1)).astype(np.float32) for _ in episodes]
    mesh = make_mesh(MeshConfig())
    shared = collate(episodes, rewards, layout=Layout.of(config, mesh))
    runs = {"shared": Run(config, model, shared), "apart": Run(config, model, apart(shared, episodes))}
    for _ in range(options.repeat):
        for run in runs.values():
            run.measure()
    for name, run in runs.items():
        print(
            f"{name:7}{run.rollout.rows.tokens.size:9,} positions, {100 * run.rollout.rows.padding:5.1f} % padding, "
            f"{run.cpu:8.2f} s processor, {run.wall:8.2f} s wall, gradient {run.gradient:.6f}"
        )
    ratios = [getattr(runs["apart"], clock) / getattr(runs["shared"], clock) for clock in ("cpu", "wall")]
    print(f"processor time {ratios[0]:.2f} x, wall {ratios[1]:.2f} x")


class Run:
    """A compiled step on one rollout, from one state."""

    def __init__(self, config: RlConfig, model: LlamaConfig, rollout: RolloutBatch) -> None:
        self.rollout, self.wall, self.cpu = rollout, math.inf, math.inf
        self._mesh = make_mesh(config.mesh)
        spec = make_step_spec(config, model, make_rubric(config))
        with jax.set_mesh(self._mesh):
            init = partial(init_rl_state, model=model, spec=spec, seed=0)
            self._state = start_state(init, init_params(model, jax.random.key(0), config.stored_dtype), self._mesh)
            self._step = CompiledRlStep(spec, self._state, self._mesh)
            self._batch = make_global_array(rollout, batch_sharding(self._mesh))
        self.gradient = float(self._advance()["grad_norm"])

    def _advance(self) -> dict[str, jax.Array]:
        with jax.set_mesh(self._mesh):
            self._state, metrics = self._step(self._state, self._batch)
            found: dict[str, jax.Array] = jax.block_until_ready((self._state, metrics))[1]
        return found

    def measure(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self._advance()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)


def made_up(prompts: int, group: int, lengths: tuple[int, int], answer: int) -> list[Episode]:
    """Random tokens; answers of half of ``answer`` to all of it."""
    random, case, episodes = np.random.default_rng(0), Case("", (), ()), []
    for length in np.linspace(*lengths, prompts).astype(int):
        prompt = random.integers(3, 32000, length).tolist()
        for _ in range(group):
            written = random.integers(3, 32000, random.integers(answer // 2, answer + 1)).tolist()
            turn = Turn(case, "", True, length - 1, tuple(written), (-10.0,) * len(written))
            episodes.append(Episode(case, prompt + written, int(length), [turn]))
    return episodes


def apart(rollout: RolloutBatch, episodes: list[Episode]) -> RolloutBatch:
    """The same with a row for each episode."""
    count, width = rollout.mask.shape
    length = bucket(max(one.prompt_length for one in episodes) + width - 1, 16)
    arrays: Any = np.zeros((4, count, 1, 1, length), np.int32)
    arrays[3] = count * width
    for number, one in enumerate(episodes):
        read = slice(0, len(one.stream))
        arrays[0, number, 0, 0, read], arrays[1, number, 0, 0, read] = one.stream, np.arange(len(one.stream))
        arrays[2, number, 0, 0, read] = 1
        columns = np.arange(len(one.stream) - one.prompt_length + 1)
        arrays[3, number, 0, 0, one.prompt_length - 1 : len(one.stream)] = number * width + columns
    tokens, positions, segment_ids, sources = arrays
    most = int((sources < count * width).sum(axis=3).max())
    return replace(rollout, rows=Rows(tokens, positions, segment_ids, None, sources, most))


if __name__ == "__main__":
    main()
