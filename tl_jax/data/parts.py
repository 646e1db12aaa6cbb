"""The trajectories of a file as records, part by part: encoded here or, where there are many, by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import TypeVar

from transformers import PreTrainedTokenizerFast

from tl_jax.config import DataConfig
from tl_jax.data.codec import Codec
from tl_jax.data.examples import examples_of
from tl_jax.data.prefixes import prefix_hashes
from tl_jax.data.records import to_record
from tl_jax.data.report import DataReport
from tl_jax.errors import UserError
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers import FORMATS
from tl_jax.tooluse.readers.registry import read_trajectories, trajectory_reader
from tl_jax.tooluse.readers.rows import EachRow, RawRow, converted, raw_rows
from tl_jax.tooluse.schema import DataError, Trajectory
from tl_jax.tooluse.text.template_choice import TemplateChoice

T = TypeVar("T")

ROWS = 64
"""Rows of a file that are encoded at a time."""
_WAITING = 2
"""Parts under way for each process; so much is held in memory at most."""


@dataclass
class EncodedPart:
    """What became of some trajectories that follow one another."""

    records: list[bytes] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("i"))
    """tokens of each example"""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    """`prefix_hashes` of all examples"""
    counts: array[int] = field(default_factory=lambda: array("i"))
    """how many of them are of each example"""
    largest_token: int = -1
    report: DataReport = field(default_factory=DataReport)
    notes: Notes = field(default_factory=Notes)
    bytes_read: int = 0
    """of the file, unpacked; 0: not known"""


@dataclass(frozen=True)
class Encoder:
    """Makes records of trajectories.

    Attributes:
        path: what errors call the data.
    """

    config: DataConfig
    codec: Codec
    path: str

    def part(self, trajectories: Iterable[Trajectory], notes: Notes) -> EncodedPart:
        """The records of some trajectories.

        Args:
            trajectories: as they are read.
            notes: what was noted while reading.

        Raises:
            UserError: one that cannot be read or encoded.
        """
        part = EncodedPart(notes=notes)
        for trajectory in trajectories:
            try:
                for example in examples_of(trajectory, self.config, self.codec, part.report):
                    part.records.append(to_record(example))
                    part.lengths.append(len(example.tokens))
                    hashes = prefix_hashes(example)
                    part.hashes += hashes
                    part.counts.append(len(hashes))
                    part.largest_token = max(part.largest_token, int(example.tokens.max(initial=-1)))
            except UserError as error:
                raise DataError(str(error), path=self.path, field=f"trajectory {trajectory.id!r}") from error
        return part


def parts(file: Path, encoder: Encoder, processes: int) -> Iterator[EncodedPart]:
    """The parts of a file in its order, however many processes make them.

    Args:
        file: what the readers can read.
        encoder: makes records of what is read.
        processes: how many encode; only where a row of the format says all by itself.

    Raises:
        UserError: unreadable data, or a trajectory that cannot be encoded.
    """
    format, read = trajectory_reader(file, encoder.config.format)
    if processes > 1 and isinstance(read, EachRow):
        yield from _by_others(file, encoder, format.name, processes)
        return
    notes = Notes(encoder.config.unknown)
    for some in _cut(read_trajectories(file, format.name, notes=notes)):
        yield encoder.part(some, Notes())
    yield EncodedPart(notes=notes)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_others(file: Path, encoder: Encoder, format: str, processes: int) -> Iterator[EncodedPart]:
    """The file is cut into rows here, and everything else is done there."""
    codec = encoder.codec
    start = (encoder.config, (codec.renderer.name, codec.tokenizer, codec.choice), encoder.path, format)
    # Not by fork: JAX and the tokenizers have threads, whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start, start) as pool:
        waiting = deque[tuple[Future[EncodedPart], int]]()

        def first() -> EncodedPart:
            future, size = waiting.popleft()
            return replace(future.result(), bytes_read=size)

        try:
            for rows in _cut(raw_rows(file)):
                size = sum(0 if row.parsed else len(row.content) for row in rows)
                waiting.append((pool.submit(_encode, rows), size))
                if len(waiting) >= _WAITING * processes:
                    yield first()
            while waiting:
                yield first()
        except BrokenProcessPool:
            raise UserError(
                f"{encoder.path}: a process that encodes it has died: killed, out of memory, or started by a script "
                'that trains without asking `if __name__ == "__main__":` first'
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_encode_here: Callable[[list[RawRow]], EncodedPart]
"""In a process that encodes."""


def _start(
    config: DataConfig, codec: tuple[str, PreTrainedTokenizerFast, TemplateChoice], path: str, format: str
) -> None:
    """Makes this process ready to encode."""
    global _encode_here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the one that started them ends them
    Thread(target=_end_with_parent, daemon=True).start()
    encoder, read = Encoder(config, Codec.open(*codec), path), FORMATS[format].trajectories
    assert isinstance(read, EachRow)
    convert = read.convert

    def encode(rows: list[RawRow]) -> EncodedPart:
        notes = Notes(config.unknown)
        return encoder.part(notes.during(lambda: converted(rows, convert)), notes)

    _encode_here = encode


def _encode(rows: list[RawRow]) -> EncodedPart:
    return _encode_here(rows)


def _end_with_parent() -> None:
    """A parent that is killed says no good-bye."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _cut(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, ROWS)):
        yield some
