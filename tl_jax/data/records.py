"""Examples as bytes: how they are kept in memory, sent between processes and stored in a file.

A token takes four bytes and a target twelve more, since most positions of a trajectory are none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tl_jax.data.supervision import Example

_HEAD = struct.Struct("<IIId")
"""Tokens, positions with a label, bytes of the id; the turns' weights."""


class Records(Protocol):
    """Examples as bytes, by number: a list of them, or what reads them from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> bytes: ...


def to_record(example: Example) -> bytes:
    """An example as bytes; its ``targets`` are left out."""
    labelled = np.flatnonzero((example.weights != 0) | (example.labels != 0))
    name = example.id.encode("utf-8", "surrogatepass")
    parts = (
        (example.tokens, "<i4"),
        (labelled, "<i4"),
        (example.labels[labelled], "<i4"),
        (example.weights[labelled], "<f4"),
    )
    head = _HEAD.pack(len(example.tokens), len(labelled), len(name), example.turns)
    return b"".join([head, name, *(array.astype(kind).tobytes() for array, kind in parts)])


def from_record(record: bytes) -> Example:
    """The example that `to_record` was given."""
    size, count, length, turns = _HEAD.unpack_from(record)
    start = _HEAD.size + length
    name = record[_HEAD.size : start].decode("utf-8", "surrogatepass")
    numbers = np.frombuffer(record[start:], "<i4")
    tokens, labelled, found, weights = np.split(numbers, [size, size + count, size + 2 * count])
    labels, dense = np.zeros(size, np.int32), np.zeros(size, np.float32)
    labels[labelled], dense[labelled] = found, weights.view("<f4")
    return Example(name, tokens.astype(np.int32, copy=False), labels, dense, turns)


def reader(records: Records) -> Callable[[Sequence[int]], tuple[Example, ...]]:
    """What reads the examples of some numbers."""
    return lambda numbers: tuple(from_record(records[number]) for number in numbers)
