"""Examples -> rows of one length, several examples to a row, and rows -> the batch the device sees."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.data.supervision import Example


@dataclass(frozen=True, slots=True)
class Row:
    """Examples that stand one after another in ``length`` positions; the rest is padding."""

    examples: tuple[Example, ...]
    length: int

    @property
    def used(self) -> int:
        """Positions that are not padding."""
        return sum(len(example.tokens) for example in self.examples)


def pack(examples: Sequence[Example], max_length: int, pack: bool = True) -> list[Row]:
    """Puts ``examples`` into rows of ``max_length`` positions; with ``pack=False`` one to a row, in their order.

    Packing is best-fit decreasing: the longest first, each into the fullest row that still has room.

    Raises:
        ValueError: an example is longer than a row.
    """
    longest = max((len(example.tokens) for example in examples), default=0)
    if longest > max_length:
        raise ValueError(f"an example of {longest} tokens does not fit into a row of {max_length}")
    if not pack:
        return [Row((example,), max_length) for example in examples]
    rows: list[list[Example]] = []
    room: list[tuple[int, int]] = []  # (free positions, row), sorted
    for example in sorted(examples, key=lambda example: -len(example.tokens)):
        size = len(example.tokens)
        found = bisect_left(room, (size, -1))
        if found < len(room):
            free, row = room.pop(found)
            rows[row].append(example)
        else:
            free, row = max_length, len(rows)
            rows.append([example])
        insort(room, (free - size, row))
    return [Row(tuple(row), max_length) for row in rows]


def collate(rows: Sequence[Row]) -> Batch:
    """A batch of NumPy arrays ``[len(rows), length]``. Segments count from 1 in every row; 0 is padding.

    Raises:
        ValueError: rows of different lengths.
    """
    lengths = {row.length for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"rows of one batch must have one length, not {sorted(lengths)}")
    shape = len(rows), lengths.pop()
    tokens, labels, segments, positions = (np.zeros(shape, np.int32) for _ in range(4))
    weights = np.zeros(shape, np.float32)
    for index, row in enumerate(rows):
        start = 0
        for segment, example in enumerate(row.examples, 1):
            end = start + len(example.tokens)
            span = index, slice(start, end)
            tokens[span], labels[span], weights[span] = example.tokens, example.labels, example.weights
            segments[span], positions[span] = segment, np.arange(end - start)
            start = end
    turns = np.asarray([sum(example.turns for example in row.examples) for row in rows], np.float32)
    return Batch(tokens=tokens, labels=labels, weights=weights, segment_ids=segments, positions=positions, turns=turns)
