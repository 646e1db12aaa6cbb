"""Trajectories per second on one core from structure to supervised tokens, and what dividing long ones costs.

    python benchmarks/encode.py --data FILE --tokenizer DIR_OR_MODEL [--max-length 512 2048]

Processor time of one process counts, the best of three rounds; each round begins with a tokenizer just opened. The
first line encodes and supervises every trajectory whole. The others do what training does at a row length: reading,
MAE, division into windows, packing; beside it, how many windows were made, and for how many a conversation was written
and encoded again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from tl_jax.config import DataConfig, PktConfig
from tl_jax.data import windows
from tl_jax.data.codec import Codec
from tl_jax.data.dataset import build_dataset
from tl_jax.data.sources import trajectories

ROUNDS = 3


def timed(options: argparse.Namespace, work: Callable[[Codec], Any]) -> tuple[float, Any]:
    """The least processor time of some rounds, in seconds, and what came of the last one."""
    least, result = float("inf"), None
    for _ in range(ROUNDS):
        codec = Codec.open(options.renderer, options.tokenizer)
        _ = codec.stop_ids  # takes the tokenizer apart
        began = time.process_time()
        result = work(codec)
        least = min(least, time.process_time() - began)
    return least, result


class CountingCodec(Codec):
    """Counts conversations."""

    encoded = 0

    def encode(self, *arguments: Any, **options: Any) -> Any:
        CountingCodec.encoded += 1
        return super().encode(*arguments, **options)


def count_windows(options: argparse.Namespace, config: DataConfig) -> tuple[int, int]:
    """Windows of the trajectories that are divided, and for how many of them a conversation was encoded again."""
    made, before = 0, 0
    split = windows.split

    def counting_split(*arguments: Any) -> windows.Windows:
        nonlocal made, before
        start = CountingCodec.encoded
        found = split(*arguments)
        made, before = made + len(found.examples), before + CountingCodec.encoded - start
        return found

    with mock.patch("tl_jax.data.examples.split", counting_split):
        build_dataset(config, CountingCodec.open(options.renderer, options.tokenizer))
    return made, before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--renderer", default="paper")
    parser.add_argument("--pkt", default="paper")
    parser.add_argument("--max-length", type=int, nargs="*", default=[512, 2048])
    options = parser.parse_args()
    rows, pkt = list(trajectories(options.data)), PktConfig(mode=options.pkt)
    seconds, tokens = timed(options, lambda codec: sum(len(codec.supervise(row, pkt).tokens) for row in rows))
    print(
        f"encode and supervise: {len(rows) / seconds:,.0f} trajectories/s, {tokens / seconds / 1e6:.2f} M tokens/s "
        f"({len(rows)} trajectories, {tokens:,} tokens)"
    )
    for length in options.max_length:
        config = DataConfig(path=options.data, renderer=options.renderer, pkt=pkt, max_length=length)
        seconds, dataset = timed(options, lambda codec: build_dataset(config, codec))  # noqa: B023 (called at once)
        made, encoded = count_windows(options, config)
        print(
            f"dataset, rows of {length}: {1e3 * seconds / len(rows):.2f} ms/trajectory; {dataset.report.divided} "
            f"trajectories divided into {made} windows, {encoded} of them encoded again"
        )


if __name__ == "__main__":
    main()
