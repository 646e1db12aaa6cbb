"""Losses of the same small training in several precisions and by several optimizers, as a Markdown table.

    python benchmarks/precision.py [--steps 300] [--hidden 64] [--layers 2]

A random model learns a language of random successors at a large learning rate ("from nothing"); what the float32 run
arrived at then learns another such language at a small one ("afterwards"), where bfloat16 rounded to the nearest hardly
moves. The loss is that of held-out rows, in nats a token, computed in the precision of the row of the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import optax

from tl_jax.config import OptimizerConfig
from tl_jax.data.batch import Batch
from tl_jax.model.config import LlamaConfig
from tl_jax.model.llama import init_params, make_graphdef
from tl_jax.model.parameters import Params
from tl_jax.training.losses import weighted_cross_entropy
from tl_jax.training.optimizer import make_optimizer
from tl_jax.training.state import init_state
from tl_jax.training.step import evaluate, make_eval_step, make_train_step

ROWS, LENGTH, VOCAB = 8, 64, 96


class Variant(NamedTuple):
    """A row of the table."""

    name: str
    dtype: str = "bfloat16"
    """of the computation"""
    param_dtype: str = "float32"
    optimizer: str = "adamw"
    mu_dtype: str = "float32"
    nearest: bool = False
    """updates are rounded to the nearest"""


VARIANTS = (
    Variant("float32", dtype="float32"),
    Variant("computed in bfloat16"),
    Variant("... first moment in bfloat16", mu_dtype="bfloat16"),
    Variant("... parameters in bfloat16, rounded stochastically", param_dtype="bfloat16"),
    Variant("... both", param_dtype="bfloat16", mu_dtype="bfloat16"),
    Variant("... parameters in bfloat16, rounded to the nearest", param_dtype="bfloat16", nearest=True),
    Variant("computed in bfloat16, adafactor", optimizer="adafactor"),
    Variant("computed in bfloat16, muon", optimizer="muon"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args()
    model = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_layers=options.layers,
        num_heads=options.hidden // 16,
        num_kv_heads=options.hidden // 16,
        head_dim=16,
    )
    start = init_params(model, jax.random.key(0))
    learnt, _ = train(model, start, VARIANTS[0], options.steps, rate=3e-3, language=1)
    begun = held_out_loss(model, learnt, VARIANTS[0], language=2)
    print("| precision, optimizer | from nothing, rate 3e-3 | | afterwards, rate 2e-5 | |\n|---|---|---|---|---|")
    print(f"| before the first step | {np.log(VOCAB):.4f} | | {begun:.4f} | |")
    exact: tuple[float, ...] = ()
    for variant in VARIANTS:
        started = time.process_time()
        losses = (
            train(model, start, variant, options.steps, rate=3e-3, language=1)[1],
            train(model, learnt, variant, options.steps, rate=2e-5, language=2)[1],
        )
        exact = exact or losses
        cells = [f"{loss:.4f} | {100 * (loss / best - 1):+.2f} %" for loss, best in zip(losses, exact, strict=True)]
        print(f"| {variant.name} | {' | '.join(cells)} |", flush=True)
        print(f"{time.process_time() - started:.0f} s of processor time", file=sys.stderr)


def train(
    model: LlamaConfig, params: Params, variant: Variant, steps: int, *, rate: float, language: int
) -> tuple[Params, float]:
    """The parameters after ``steps`` updates, and their loss."""
    config = OptimizerConfig(
        name=variant.optimizer, learning_rate=rate, warmup_steps=20, mu_dtype=variant.mu_dtype, schedule="cosine"
    )
    optimizer, schedule = make_optimizer(config, steps)
    graphdef = make_graphdef(model, dtype=variant.dtype)
    step = make_train_step(graphdef, weighted_cross_entropy, optimizer, schedule)
    state = init_state(jax.tree.map(lambda x: x.astype(variant.param_dtype), params), optimizer, seed=0)
    rounding = mock.patch("tl_jax.training.step.apply_updates", to_the_nearest) if variant.nearest else nullcontext()
    with rounding:
        compiled = jax.jit(step)
        for _, batch in zip(range(steps), batches(language, seed=1), strict=False):
            state, _ = compiled(state, batch)
    return state.trainable, held_out_loss(model, state.trainable, variant, language)


def to_the_nearest(params: Params, updates: optax.Updates, key: jax.Array) -> Any:
    return optax.apply_updates(params, updates)


def held_out_loss(model: LlamaConfig, params: Params, variant: Variant, language: int) -> float:
    step = jax.jit(make_eval_step(make_graphdef(model, dtype=variant.dtype), weighted_cross_entropy))
    data = [batch for _, batch in zip(range(32), batches(language, seed=2), strict=False)]
    return evaluate(step, params, data)["loss"]


def batches(language: int, seed: int) -> Iterator[Batch]:
    """Rows of a language in which six tokens may follow a token, the first of them half of the time, and so on."""
    follows = np.random.default_rng(language).integers(0, VOCAB, (VOCAB, 6))
    rng = np.random.default_rng([language, seed])
    draw = partial(rng.choice, 6, p=np.array([32, 16, 8, 4, 2, 2]) / 64)
    ones = np.ones((ROWS, LENGTH), np.int32)
    while True:
        text = np.empty((ROWS, LENGTH + 1), np.int32)
        text[:, 0] = rng.integers(0, VOCAB, ROWS)
        for place in range(LENGTH):
            text[:, place + 1] = follows[text[:, place], draw(ROWS)]
        yield Batch(
            tokens=text[:, :-1],
            labels=text[:, 1:],
            weights=np.full((ROWS, LENGTH), 1 / LENGTH, np.float32),
            segment_ids=ones,
            positions=np.cumsum(ones, axis=1, dtype=np.int32) - 1,
            turns=np.ones(ROWS, np.float32),
        )


if __name__ == "__main__":
    main()
