"""Tokens per second of our generation against transformers' `generate`, on the same random model and prompts.

    python benchmarks/decode.py [--hidden 512] [--layers 8] [--rows 8] [--new-tokens 64] [--dtype float32]

Both decode greedily without an end token, so that both make rows x new-tokens tokens; prefill is included, compilation
and warm-up are not. The best of five runs counts, taken in turns. A figure is worth something on an idle machine only:
with more work than cores torch's threads wait for one another. `taskset -c 0` and the processor time help to judge.
Needs torch; compare on the same device only.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tl_jax.config import SamplingConfig
from tl_jax.inference.generate import Ends, generate
from tl_jax.inference.serving import for_generation
from tl_jax.model.hf import load_hf
from tl_jax.model.llama import make_graphdef


class Clock:
    """The least wall and processor seconds that a function took."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run, self.wall, self.cpu = run, math.inf, math.inf
        run()  # compiles and warms up

    def measure(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.run()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.cpu = min(self.cpu, time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=128, help="tokens in a prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 11 // 4,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        eos_token_id=None,
    )
    theirs = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, options.dtype)).eval()
    with tempfile.TemporaryDirectory() as directory:
        theirs.save_pretrained(directory)
        ours, params = load_hf(directory, jnp.dtype(options.dtype))
    model = for_generation(make_graphdef(ours, dtype=options.dtype), params)
    prompts = np.random.default_rng(0).integers(0, 32000, (options.rows, options.prompt))
    tokens = torch.from_numpy(prompts)
    if torch.cuda.is_available():
        theirs, tokens = theirs.cuda(), tokens.cuda()
    sampling = SamplingConfig(max_new_tokens=options.new_tokens, temperature=0)

    def run_theirs() -> torch.Tensor:
        mask = torch.ones_like(tokens)
        out = theirs.generate(tokens, attention_mask=mask, max_new_tokens=options.new_tokens, do_sample=False)
        return out[:, options.prompt :].cpu()

    def run_ours() -> np.ndarray:
        return generate(model, prompts.tolist(), sampling, jax.random.key(0), Ends()).tokens

    clocks = {"transformers": Clock(run_theirs), "tl_jax": Clock(run_ours)}
    for _ in range(5):  # in turns, so that whatever else the machine does meets both
        for clock in clocks.values():
            clock.measure()
    made = options.rows * options.new_tokens
    size = sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    same = np.mean(run_ours() == run_theirs().numpy())
    print(f"{size:.0f}M parameters, {options.dtype}, {options.rows} rows of {options.prompt}, {jax.default_backend()}")
    print(f"same tokens: {same:.1%}; load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    for name, clock in clocks.items():
        print(f"{name:12}: {made / clock.wall:8.1f} tokens/s, {made / clock.cpu:8.1f} per second of processor time")
    theirs_clock, ours_clock = clocks.values()
    print(f"ratio {theirs_clock.wall / ours_clock.wall:.2f}, by processor time {theirs_clock.cpu / ours_clock.cpu:.2f}")


if __name__ == "__main__":
    main()
