"""Tokens per second of our generation against transformers' `generate`, on the same random model and prompts.

    python benchmarks/decode.py [--rows 8] [--new-tokens 64] [--hidden 512] [--layers 8] [--dtype float32]
    python benchmarks/decode.py --rows 64 --unequal         # answers end early, each elsewhere
    python benchmarks/decode.py --rows 64 --group 8         # eight answers to each prompt
    python benchmarks/decode.py --new-tokens 1 --prompt 512 # reading prompts only

Both decode greedily and have to write the same tokens; prefill is included, compilation and warm-up are not. With
``--unequal``, tokens are declared ends until answers have 30 % of ``--new-tokens`` on average. The best of ``--times``
runs counts, taken in turns. A figure is worth something on an idle machine only: with more work than cores torch's
threads wait for one another. `taskset -c 0` and the processor time help to judge. Needs torch; compare on the same
device only.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tl_jax.config import SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.inference.engine import Ends, Generation
from tl_jax.inference.generate import generate
from tl_jax.inference.serving import for_generation
from tl_jax.model.hf import load_hf
from tl_jax.model.llama import make_graphdef

SHARE = 0.3
"""Of the longest answer, the mean of unequal ones."""


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


def chosen_ends(tokens: np.ndarray, share: float) -> tuple[int, ...]:
    """Tokens that as ends leave answers of ``share`` of their length on average, but the longest as it is."""
    rng, ends = np.random.default_rng(0), list[int]()
    spared = set(tokens[0].tolist())
    for token in rng.permutation(np.unique(tokens)):
        if int(token) in spared:
            continue
        ends.append(int(token))
        if lengths(tokens, ends).mean() <= share * tokens.shape[1]:
            break
    return tuple(ends)


def lengths(tokens: np.ndarray, ends: list[int] | tuple[int, ...]) -> np.ndarray:
    """Tokens up to the first end, that included."""
    there = np.isin(tokens, ends)
    return np.where(there.any(axis=1), there.argmax(axis=1) + 1, tokens.shape[1])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--group", type=int, default=1, help="rows with the same prompt")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in a prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--unequal", action="store_true", help="answers of different lengths")
    parser.add_argument("--slots", type=int, help="answers that we write at once; all where nothing is said")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--kv-cache-dtype", choices=get_args(KvCacheDtype), default="auto", help="of ours")
    parser.add_argument("--times", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    options = arguments()
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
    model = for_generation(make_graphdef(ours, dtype=options.dtype), params, kv_cache_dtype=options.kv_cache_dtype)
    different = np.random.default_rng(0).integers(0, 32000, (options.rows // options.group, options.prompt))
    prompts = np.repeat(different, options.group, axis=0)
    tokens = torch.from_numpy(prompts)
    if torch.cuda.is_available():
        theirs, tokens = theirs.cuda(), tokens.cuda()
    sampling = SamplingConfig(max_new_tokens=options.new_tokens, temperature=0, batch_size=options.slots)
    ends: tuple[int, ...] = ()

    def run_theirs() -> np.ndarray:
        stops = {"eos_token_id": list(ends), "pad_token_id": 0} if ends else {}
        longest = {"max_new_tokens": options.new_tokens, "do_sample": False}
        out = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **longest, **stops)
        return out[:, options.prompt :].cpu().numpy()

    def run_ours() -> Generation:
        return generate(model, prompts.tolist(), sampling, jax.random.key(0), Ends(ends))

    if options.unequal:
        ends = chosen_ends(run_ours().tokens, SHARE)
    clocks = {"transformers": Clock(run_theirs), "tl_jax": Clock(run_ours)}
    for _ in range(options.times):  # in turns, so that whatever else the machine does meets both
        for clock in clocks.values():
            clock.measure()
    made = run_ours()
    written = np.pad(run_theirs(), ((0, 0), (0, options.new_tokens)))[:, : options.new_tokens]
    kept = np.arange(options.new_tokens) < made.lengths[:, None]
    total, size = int(made.lengths.sum()), sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    print(f"{size:.0f}M parameters, {options.dtype}, {options.rows} rows of {options.prompt}, {jax.default_backend()}")
    print(f"{total} tokens, {made.lengths.mean():.1f} a row, {made.lengths.max()} at most; same: ", end="")
    print(f"{np.mean(made.tokens[kept] == written[kept]):.1%}; load {os.getloadavg()[0]:.1f} on ", end="")
    print(f"{len(os.sched_getaffinity(0))} cores")
    for name, clock in clocks.items():
        print(f"{name:12}: {total / clock.wall:8.1f} tokens/s, {total / clock.cpu:8.1f} per second of processor time")
    theirs_clock, ours_clock = clocks.values()
    print(f"ratio {theirs_clock.wall / ours_clock.wall:.2f}, by processor time {theirs_clock.cpu / ours_clock.cpu:.2f}")


if __name__ == "__main__":
    main()
