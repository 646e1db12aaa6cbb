"""Data larger than memory: encoding, starting again, reading and going on, with the most memory that each takes.

    python -m benchmarks.much_data --data FILE --tokenizer FILE --work DIR --count 100000 [--copies 10]

FILE's trajectories are written over and over with new ids until there are COUNT of them. Then a first start encodes
them into a cache, a second start finds them there, and batches are read in the order of training. With COPIES, every
example is kept that often: what a million costs besides its encoding is seen without encoding a million. At last a
small model is trained from the cache: once without interruption, and once killed by SIGKILL after half of the steps
and started again, whose metrics and states have to be equal. Everything runs in processes of its own; peak memory is
the resident set's largest size, the files that the system keeps in memory for a process not counted twice. Everything
in DIR is deleted at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.watched import GLANCE, differences, newest_checkpoint
from tests.runs import metrics
from tl_jax.config import DataConfig, SftConfig
from tl_jax.data import dataset
from tl_jax.data.codec import Codec
from tl_jax.data.loader import Loader
from tl_jax.data.parts import EncodedPart

BATCH, BATCHES, STEPS = 16, 100, 2
"""Rows of a batch, batches that are read, steps of training before the kill and after it."""
LENGTH = 2048


def write_data(source: Path, target: Path, count: int) -> int:
    """COUNT trajectories; the bytes of all."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    with target.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = rows[number % len(rows)] | {"id": f"{number}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return target.stat().st_size


def copied(make: Callable[..., Iterator[EncodedPart]], copies: int) -> Callable[..., Iterable[EncodedPart]]:
    """As if every example had been encoded ``copies`` times."""

    def parts(*arguments: Any) -> Iterator[EncodedPart]:
        for part in make(*arguments):
            yield part
            for _ in range(copies - 1):
                yield replace(part, bytes_read=0)

    return parts


def start(config: DataConfig, tokenizer: Path, copies: int) -> str:
    """What a start costs until the first batch, and what reading costs from then on."""
    began = time.perf_counter()
    with mock.patch.object(dataset, "parts", copied(dataset.parts, copies)):
        data = dataset.build_dataset(config, Codec.open(config.renderer, tokenizer))
    built, used = time.perf_counter() - began, sum(map(processor, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    loader = Loader(data.rows, BATCH, seed=0)
    next(loader)
    first = time.perf_counter() - began
    began, before = time.perf_counter(), time.process_time()
    tokens = sum(int((batch.segment_ids > 0).sum()) for batch in itertools.islice(loader, BATCHES))
    seconds, reading = time.perf_counter() - began, time.process_time() - before
    mine, largest = peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN)
    return "\n".join(
        [
            f"  {data.report.examples:,} examples in {len(data.rows):,} rows after {built:.1f} s",
            f"  {used:.1f} s of processor time; first batch after {first:.1f} s",
            f"  {tokens / seconds / 1e6:.2f} M tokens/s, {BATCH * BATCHES / seconds:.0f} rows/s read; "
            f"{1e3 * reading / BATCHES:.1f} ms of processor time for a batch of {BATCH}",
            f"  peak memory {mine:.2f} GiB, and of the largest process that encoded {largest:.2f} GiB",
            *(f"  {line}" for line in data.report.lines() if "encoded" in line),
        ]
    )


def train(config: SftConfig) -> str:
    """Trains, or goes on."""
    from tl_jax.training.sft import run_sft

    began = time.perf_counter()
    run_sft(config)
    return f"{time.perf_counter() - began:.1f} s, peak memory {peak(resource.RUSAGE_SELF):.2f} GiB"


def processor(who: int) -> float:
    """Seconds of processor time, of this process or of those that it has started and that have ended."""
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime


def peak(who: int) -> float:
    """GiB, of this process or of the largest that it has started."""
    return resource.getrusage(who).ru_maxrss / 2**20


def alone(work: Callable[..., str], *arguments: Any) -> str:
    """In a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def write_model(tokenizer: Path, to: Path) -> str:
    """A small random model that knows all of the tokenizer's tokens."""
    import jax

    from tests.training.helpers import TINY
    from tl_jax.data.tokenizer_file import load_tokenizer
    from tl_jax.model.hf import export_hf
    from tl_jax.model.llama import init_params

    loaded = load_tokenizer(tokenizer)
    loaded.save_pretrained(to / "tokenizer")
    config = replace(TINY, vocab_size=len(loaded), max_position_embeddings=LENGTH)
    export_hf(init_params(config, jax.random.key(0)), config, to / "tokenizer", to / "model")
    return str(to / "model")


def killed(config: SftConfig) -> str:
    """Trains until the first checkpoint is whole, and no further."""
    process = multiprocessing.get_context("spawn").Process(target=train, args=(config,))
    began = time.perf_counter()
    process.start()
    while process.is_alive() and newest_checkpoint(config.run_dir) is None:
        time.sleep(GLANCE)
    process.kill()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit(f"the training was to be killed, but ended by itself: exit code {process.exitcode}")
    return f"killed after {time.perf_counter() - began:.1f} s, checkpoint of step {newest_checkpoint(config.run_dir)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=1)
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True)
    try:
        size = write_data(options.data, work / "data.jsonl", options.count)
        print(f"{options.count:,} trajectories, {size / 1e9:.2f} GB; every example {options.copies} times", flush=True)
        config = DataConfig(path=work / "data.jsonl", cache=work / "cache", max_length=LENGTH, batch_size=BATCH)
        for name in ("first", "second"):
            print(f"{name} start:\n{alone(start, config, options.tokenizer, options.copies)}", flush=True)
        model = alone(write_model, options.tokenizer, work)
        base: dict[str, Any] = {"model": {"path": model, "dtype": "float32"}, "log_every": 1, "seed": 1}
        base["optimizer"] = {"schedule": "constant"}  # the same at every step, however many there are
        base["checkpoint"] = {"every": STEPS, "keep": 2}
        data = config.model_copy(update={"batch_size": 2}).model_dump()
        whole, restarted = work / "whole", work / "restarted"
        for run, way in ((whole, "to its end"), (restarted, "killed"), (restarted, "again")):
            settings = SftConfig.model_validate({**base, "data": data, "steps": 2 * STEPS, "run_dir": run})
            print(f"training, {way}: {killed(settings) if way == 'killed' else alone(train, settings)}", flush=True)
        print(f"losses {[row['loss'] for row in metrics(whole)]}")
        print(f"differences: {differences(restarted, whole, 2 * STEPS) or 'none'}")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
