"""Tokens per second of our generation against transformers' `generate`, on the same random model and prompts.

    python benchmarks/decode.py [--rows 8] [--new-tokens 64] [--hidden 512] [--layers 8] [--dtype float32]
    python benchmarks/decode.py --rows 64 --unequal         # answers end early, each elsewhere
    python benchmarks/decode.py --rows 64 --group 8         # eight answers to each prompt
    python benchmarks/decode.py --new-tokens 1 --prompt 512 # reading prompts only
    python benchmarks/decode.py --model DIR --dtype bfloat16 # a Hugging Face directory (`tl-jax init-model` makes one)

Both decode greedily and have to write the same tokens (in bfloat16, random weights soon choose others); prefill is
included, compilation and warm-up are not. With ``--unequal``, tokens are declared ends until answers have 30 % of
``--new-tokens`` on average. The best of ``--times`` runs counts, taken in turns; answers of one token say what reading
the prompts takes. A figure is worth something on an idle machine only: with more work than cores torch's threads wait
for one another. `taskset -c 0` and the processor time help to judge. Needs torch; compare on the same device only (a
GPU: XLA_PYTHON_CLIENT_PREALLOCATE=false, since both share it). On a chip whose figures are known comes the share of its
bandwidth that the bytes are which cannot be left unread: at each step all matrices, for each token the keys and values
before it.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

from tl_jax.config import SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.inference.engine import Ends, Generation
from tl_jax.inference.generate import generate
from tl_jax.inference.serving import for_generation
from tl_jax.model.config import LlamaConfig
from tl_jax.model.hf import load_hf
from tl_jax.model.kv_dtype import dtype_of
from tl_jax.model.llama import make_graphdef
from tl_jax.model.parameters import Params, count_in_products
from tl_jax.training.chips import chip_of

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


@dataclass(frozen=True)
class Side:
    """What one of them wrote, and how fast."""

    name: str
    clock: Clock
    reading: Clock
    """of answers of one token"""
    tokens: np.ndarray
    """[rows, new tokens]"""
    lengths: np.ndarray
    """[rows]"""
    cache: str
    """dtype of its keys and values"""

    def bytes_read(self, config: LlamaConfig, prompt: int, dtype: str, group: int) -> float:
        """That nobody can leave unread when such answers are written, so many to a prompt; prefill is not counted."""
        each = 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(self.cache).itemsize
        of_prompts = self.lengths.reshape(-1, group).max(axis=1).sum() * prompt
        seen = of_prompts + (self.lengths * (self.lengths - 1) / 2).sum()
        matrices = count_in_products(config) * jnp.dtype(dtype).itemsize
        return float(matrices) * int(self.lengths.max()) + each * float(seen)

    def told(self, config: LlamaConfig, prompt: int, dtype: str, group: int) -> str:
        total, chip = self.lengths.sum(), chip_of(jax.local_devices()[0].device_kind)
        written = f"{total} tokens, {self.lengths.mean():.1f} a row, {self.lengths.max()} at most"
        speed = f"{total / self.clock.wall:.1f} tokens/s, {total / self.clock.cpu:.1f} per second of processor time"
        read = self.bytes_read(config, prompt, dtype, group) / self.clock.wall
        return f"{self.name}: {written}; {speed}" + (f"; {read / chip.bandwidth:.1%} of the bandwidth" if chip else "")

    def beside(self, other: Side) -> str:
        """Tokens per second, and how many tokens are the same."""
        written = self.lengths.sum() / other.lengths.sum()
        wall, cpu = written * other.clock.wall / self.clock.wall, written * other.clock.cpu / self.clock.cpu
        kept = np.arange(self.tokens.shape[1]) < self.lengths[:, None]
        same = np.mean(self.tokens[kept] == other.tokens[kept])
        parts = ""
        if self.lengths.max() > 1:
            after = [side.clock.cpu - side.reading.cpu for side in (other, self)]
            parts = (
                f" (prompts {other.reading.cpu / self.reading.cpu:.2f}, after them {written * after[0] / after[1]:.2f})"
            )
        return f"ratio {wall:.2f}, by processor time {cpu:.2f}{parts}; {same:.1%} of the tokens are the same"


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
    parser.add_argument("--model", type=Path, help="Hugging Face directory, in place of a random model")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--group", type=int, default=1, help="rows with the same prompt")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in a prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--unequal", action="store_true", help="answers of different lengths")
    parser.add_argument("--slots", type=int, help="answers that we write at once; all where nothing is said")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--kv-cache-dtype", choices=get_args(KvCacheDtype), nargs="+", default=["auto"])
    parser.add_argument("--times", type=int, default=5)
    return parser.parse_args()


def load(options: argparse.Namespace) -> tuple[Any, LlamaConfig, Params]:
    """The same one for either side."""
    dtype = getattr(torch, options.dtype)
    if options.model is not None:
        theirs = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).eval()
        theirs.generation_config.eos_token_id = None
        return theirs, *load_hf(options.model, jnp.dtype(options.dtype))
    config = transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=options.hidden,
        intermediate_size=options.hidden * 11 // 4,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        eos_token_id=None,
    )
    theirs = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with tempfile.TemporaryDirectory() as directory:
        theirs.save_pretrained(directory)
        return theirs, *load_hf(directory, jnp.dtype(options.dtype))


def main() -> None:
    options = arguments()
    theirs, ours, params = load(options)
    graphdef = make_graphdef(ours, dtype=options.dtype)
    models = {kind: for_generation(graphdef, params, kv_cache_dtype=kind) for kind in options.kv_cache_dtype}
    different = np.random.default_rng(0).integers(0, ours.vocab_size, (options.rows // options.group, options.prompt))
    prompts = np.repeat(different, options.group, axis=0)
    tokens = torch.from_numpy(prompts)
    if torch.cuda.is_available():
        theirs, tokens = theirs.cuda(), tokens.cuda()
    ends: tuple[int, ...] = ()

    def run_theirs(new_tokens: int = options.new_tokens) -> np.ndarray:
        stops = {"eos_token_id": list(ends), "pad_token_id": 0} if ends else {}
        longest = {"max_new_tokens": new_tokens, "do_sample": False}
        out = theirs.generate(tokens, attention_mask=torch.ones_like(tokens), **longest, **stops)
        return out[:, options.prompt :].cpu().numpy()

    def run_ours(kind: KvCacheDtype, new_tokens: int = options.new_tokens) -> Generation:
        sampling = SamplingConfig(max_new_tokens=new_tokens, temperature=0, batch_size=options.slots)
        return generate(models[kind], prompts.tolist(), sampling, jax.random.key(0), Ends(ends))

    if options.unequal:
        ends = chosen_ends(run_ours(next(iter(models))).tokens, SHARE)
    runs = {"transformers": run_theirs} | {kind: partial(run_ours, kind) for kind in models}
    clocks = {name: (Clock(run), Clock(partial(run, new_tokens=1))) for name, run in runs.items()}
    for _ in range(options.times):  # in turns, so that whatever else the machine does meets both
        for clock in chain(*clocks.values()):
            clock.measure()
    written = np.pad(run_theirs(), ((0, 0), (0, options.new_tokens)))[:, : options.new_tokens]
    sides = [Side("transformers", *clocks["transformers"], written, lengths(written, ends), options.dtype)]
    for kind in models:
        made, held = run_ours(kind), dtype_of(kind, options.dtype).name
        sides.append(Side(f"tl_jax, cache {held}", *clocks[kind], made.tokens, made.lengths, held))
    size = sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    print(
        f"{size:.0f}M parameters, {options.dtype}, {options.rows} rows of {options.prompt}, {jax.default_backend()}; ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    for side in sides:
        print(side.told(ours, options.prompt, options.dtype, options.group))
        if side is not sides[0]:
            print(side.beside(sides[0]))


if __name__ == "__main__":
    main()
