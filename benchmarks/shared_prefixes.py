"""What rows in which shared beginnings stand once save: tokens and rows of files, and processor time of an epoch.

    python -m benchmarks.shared_prefixes --data FILE... --tokenizer DIR_OR_MODEL [--max-length 2048 8192] [--rows 6]

For every file and row length: tokens and rows without and with ``data.share_prefixes``. With ``--rows``, a small Llama
in float32 is trained on that many rows of either kind in turns, taken from all over the data; an epoch is as many times
their processor time as there are rows. Compilation is not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.small_llama import small_llama
from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import Dataset, build_dataset
from tl_jax.data.packing import collate
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.training.losses import weighted_cross_entropy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--renderer", default="paper")
    parser.add_argument("--max-length", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--share", type=int, default=256, help="data.share_prefixes")
    parser.add_argument("--rows", type=int, default=0, help="to train on of either kind; 0: only counted")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    options = parser.parse_args()
    codec = Codec.open(options.renderer, options.tokenizer)
    print(f"{'file':24} row    tokens -> read            rows           processor seconds of an epoch")
    for path in options.data:
        for length in options.max_length:
            config = DataConfig(path=path, renderer=options.renderer, max_length=length, cache=None)
            shared = config.model_copy(update={"share_prefixes": options.share})
            compare(path.stem, length, [build_dataset(one, codec) for one in (config, shared)], options)


def compare(name: str, length: int, data: list[Dataset], options: argparse.Namespace) -> None:
    reports = [one.report for one in data]
    before, after = (report.read for report in reports)
    line = f"{name:24} {length:5} {before:9,} -> {after:9,} {1 - after / before:6.1%}  "
    line += f"{reports[0].rows:5} -> {reports[1].rows:5} {1 - reports[1].rows / reports[0].rows:6.1%}"
    if options.rows:
        step = trained(options)
        seconds = [0.0, 0.0]
        chosen = [[*map(int, np.linspace(0, len(one.rows) - 1, options.rows))] for one in data]
        for kind in (0, 1):
            step(data[kind].rows, 0)  # compiles
        for indices in zip(*chosen, strict=True):
            for kind, index in enumerate(indices):
                began = time.process_time()
                step(data[kind].rows, index)
                seconds[kind] += time.process_time() - began
        of_epoch = [spent / options.rows * len(one.rows) for spent, one in zip(seconds, data, strict=True)]
        line += f"  {of_epoch[0]:8.0f} -> {of_epoch[1]:8.0f} {1 - of_epoch[1] / of_epoch[0]:6.1%}"
    print(line, flush=True)


def trained(options: argparse.Namespace) -> Callable[[Any, int], None]:
    """Forward and backward pass over one row."""
    model = small_llama(options.hidden, options.layers, vocab_size=32_016)
    graphdef, params = make_graphdef(model, dtype="float32", remat="none"), init_params(model, jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda params, batch: weighted_cross_entropy(merge(graphdef, params), batch).total))
    return lambda rows, index: jax.block_until_ready(gradient(params, collate([rows[index]])))


if __name__ == "__main__":
    main()
