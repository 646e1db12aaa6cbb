"""What keys and values in fewer bits change in a model's answers.

    python benchmarks/kv_cache.py --model tl_jax/demo/base
    python benchmarks/kv_cache.py --model models/smollm2 --cases trajectories.jsonl --count 24 --longest 700

For each `engine.kv_cache_dtype`: bytes of a token in the cache; how many greedy answers are those of the cache in the
dtype of the computation, and how many tokens come before the first other one; and of answers drawn at temperature 1 how
far the log-probabilities that they were drawn by are from those that a step of reinforcement learning computes of the
same tokens, `sampler_drift` of its log.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from tl_jax.config import SamplingConfig
from tl_jax.config.engine import KvCacheDtype
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import encode_prompts, load_cases
from tl_jax.demo.world import generate as made_up
from tl_jax.demo.world_files import write_jsonl
from tl_jax.inference.capacity import place_bytes
from tl_jax.inference.engine import Ends, Generation
from tl_jax.inference.generate import generate
from tl_jax.inference.sampler import answer_stops
from tl_jax.inference.serving import for_generation
from tl_jax.model.llama import GraphDef, make_graphdef, merge
from tl_jax.model.parameters import Params
from tl_jax.model.store import open_model

ROWS = 4
"""Answers whose log-probabilities are computed at once."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cases", type=Path, help="by default of the demo's world")
    parser.add_argument("--count", type=int, default=64, help="decision points that are answered")
    parser.add_argument("--longest", type=int, default=1024, help="tokens of their prompts")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


def read_prompts(cases: Path | None, codec: Codec, longest: int, count: int) -> list[list[int]]:
    """Of decision points from all over the file."""
    with tempfile.TemporaryDirectory() as folder:
        if cases is None:
            write_jsonl(cases := Path(folder) / "cases.jsonl", made_up(1, 4 * count, "values"))
        prompts, _ = encode_prompts(load_cases(cases), codec, longest)
    chosen = np.random.default_rng(0).permutation(len(prompts))[:count]
    return [list(prompts[index].tokens) for index in chosen]


def step_logprobs(graphdef: GraphDef, params: Params, prompts: list[list[int]], made: Generation) -> np.ndarray:
    """Of the answers' tokens, [B, N], by the forward pass of training."""
    width = max(map(len, prompts)) + made.tokens.shape[1]

    @jax.jit
    def computed(tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        order = jnp.broadcast_to(jnp.arange(width), tokens.shape)
        there = (order < lengths[:, None]).astype(jnp.int32)
        logits = merge(graphdef, params)(tokens, order * there, there)[:, :-1]
        return jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=-1)[..., 0]

    found = np.zeros(made.tokens.shape, np.float32)
    for first in range(0, len(prompts), ROWS):
        rows = range(first, min(first + ROWS, len(prompts)))
        tokens, lengths = np.zeros((ROWS, width), np.int32), np.zeros(ROWS, np.int32)
        for at, row in enumerate(rows):
            whole = [*prompts[row], *made.tokens[row, : made.lengths[row]]]
            tokens[at, : len(whole)], lengths[at] = whole, len(whole)
        logprobs = np.asarray(computed(tokens, lengths))
        for at, row in enumerate(rows):
            start = len(prompts[row]) - 1
            found[row, : made.lengths[row]] = logprobs[at, start : start + made.lengths[row]]
    return found


def main() -> None:
    options = arguments()
    loaded = open_model(options.model, param_dtype=options.dtype)
    codec = Codec.open("paper", loaded.tokenizer_dir)
    prompts = read_prompts(options.cases, codec, options.longest, options.count)
    graphdef = make_graphdef(loaded.config, dtype=options.dtype)
    ends, key = Ends(answer_stops(codec, loaded.config)), jax.random.key(0)
    drawn = SamplingConfig(max_new_tokens=options.new_tokens)
    exact: Generation | None = None
    print(f"{len(prompts)} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens, {options.dtype}")
    for kind in get_args(KvCacheDtype):
        model = for_generation(graphdef, loaded.params, kv_cache_dtype=kind)
        greedy = generate(model, prompts, drawn.model_copy(update={"temperature": 0.0}), key, ends)
        exact = exact or greedy
        same = greedy.tokens == exact.tokens
        before = np.where(same.all(axis=1), exact.lengths, (~same).argmax(axis=1))
        made = generate(model, prompts, drawn, key, ends)
        there = np.arange(options.new_tokens) < made.lengths[:, None]
        drift = np.abs(made.logprobs - step_logprobs(graphdef, loaded.params, prompts, made))[there]
        print(
            f"{kind:9} {place_bytes(model.layout, None):7.0f} bytes a token; greedy answers the same: "
            f"{same.all(axis=1).mean():.1%}, tokens before another: {before.sum() / exact.lengths.sum():.1%}; drift of "
            f"{there.sum()} drawn tokens: mean {drift.mean():.1e}, largest {drift.max():.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
