"""From a file of trajectories to rows of tokens, with an account of everything on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tl_jax.config import DataConfig
from tl_jax.config.data import AUTO
from tl_jax.data.cache import EncodedData, cached, in_memory
from tl_jax.data.cache_key import NoKeyError, cache_key, is_findable, size, times
from tl_jax.data.codec import Codec
from tl_jax.data.packing import PackedRows, plan_rows
from tl_jax.data.parts import EncodedPart, Encoder, parts, processors
from tl_jax.data.prefixes import plan_shared_rows
from tl_jax.data.records import reader
from tl_jax.data.report import DataReport
from tl_jax.data.sources import opened
from tl_jax.data.watch import watched
from tl_jax.files import reason, user_cache
from tl_jax.terminal import say
from tl_jax.tooluse.schema import DataError

LARGE = 32 << 20
"""Bytes of data that several processes encode, and that a cache keeps (``data.cache: auto``): thousands of
trajectories. Less is encoded as fast as processes start, and is held in memory."""


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and how they came about."""

    rows: PackedRows
    report: DataReport
    largest_token: int
    """of all ids"""


def build_dataset(config: DataConfig, codec: Codec, path: Path | None = None) -> Dataset:
    """Reads, marks (MAE), encodes, weighs (PKT), divides and packs the trajectories at ``path`` (``config.path``).

    What is encoded may come from a cache, see `tl_jax.data.cache`.

    Raises:
        UserError: unreadable data, a trajectory that the format cannot express, or no target in all of it.
    """
    path = config.path if path is None else path
    with opened(path) as file:
        data = _encoded(file, Encoder(config, codec, str(path)))
    if not len(data.records):
        raise DataError("; ".join(["nothing to train on", *data.report.lines()]), path=str(path))
    shared = None
    if config.share_prefixes:
        plan = plan_shared_rows(data.lengths, data.prefixes, config.max_length, config.share_prefixes)
        shared = 0 if plan.skipped is None else int(plan.skipped.sum())
    else:
        plan = plan_rows(data.lengths, config.max_length, config.pack)
    rows = PackedRows(reader(data.records), data.lengths, config.max_length, plan)
    report = replace(data.report, rows=len(rows), shared=shared)
    report.padding = 1 - report.read / (len(rows) * config.max_length)
    return Dataset(rows, report, data.largest_token)


def _encoded(file: Path, encoder: Encoder) -> EncodedData:
    """The examples of a file, from the cache or made now."""
    config, codec = encoder.config, encoder.codec
    large = size(file) >= LARGE
    processes = processors() if large and is_findable(file, config, codec) else 1
    before = times(file)

    def make() -> Iterator[EncodedPart]:
        found = parts(file, encoder, processes)
        yield from watched(found, file, encoder.path) if large else found
        if times(file) != before:  # half of it may be old, and a cache would keep that under the whole file's key
            raise DataError("was written to while it was read; start again once it is whole", path=encoder.path)

    directory = _directory(config.cache, large)
    if directory is not None:
        try:
            key = cache_key(file, config, codec, directory / "files")
            return cached(directory, key, make, encoder.path)
        except NoKeyError as error:
            say(f"tl-jax: {encoder.path}: encoded data is not kept: {error}", err=True)
    return in_memory(make())


def _directory(cache: Path | None, large: bool) -> Path | None:
    """Where encoded data is kept; None: in memory."""
    if cache != AUTO:
        return cache
    if not large:
        return None
    try:
        directory = user_cache() / "data"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
        why = reason(error) if isinstance(error, OSError) else str(error)
        say(f"tl-jax: encoded data is not kept: {why}; data.cache=DIR keeps it elsewhere", err=True)
        return None
    return directory
