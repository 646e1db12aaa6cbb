"""Examples -> rows of one length, several examples to a row, and rows -> the batch the device sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import TypeAlias, overload

import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.data.supervision import Example


@dataclass(frozen=True, slots=True)
class Row:
    """Examples that stand one after another in ``length`` positions; the rest is padding."""

    examples: tuple[Example, ...]
    length: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each example."""
        return tuple(len(example.tokens) for example in self.examples)

    @property
    def used(self) -> int:
        """Positions that are not padding."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A `Row` whose examples are read whenever they are asked for; their sizes are known."""

    read: Callable[[], tuple[Example, ...]]
    sizes: tuple[int, ...]
    length: int

    @property
    def examples(self) -> tuple[Example, ...]:
        """Read now."""
        return self.read()

    @property
    def used(self) -> int:
        """Positions that are not padding."""
        return sum(self.sizes)


AnyRow: TypeAlias = Row | StoredRow


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Which examples, by their numbers, stand in which row."""

    order: np.ndarray
    """int64 [N]: the examples of the first row, of the second, ..."""
    starts: np.ndarray
    """int64 [R + 1]: where each row begins in ``order``, and the end"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.order[self.starts[row] : self.starts[row + 1]]


def plan_rows(lengths: np.ndarray | Sequence[int], max_length: int, pack: bool = True) -> RowPlan:
    """Puts examples of ``lengths`` tokens into rows of ``max_length``; with ``pack=False`` one to a row, as they come.

    Packing is best-fit decreasing: the longest first, each into the fullest row that still has room, the first of
    those. Rows of equal room wait in a heap, and the bits of a number say which rooms there are.

    Raises:
        ValueError: an example is longer than a row.

    Example:
        >>> plan = plan_rows([2, 7, 3, 8], 10)
        >>> [plan[row].tolist() for row in range(len(plan))]
        [[3, 0], [1, 2]]
    """
    sizes = np.asarray(lengths, np.int64)
    if sizes.max(initial=0) > max_length:
        raise ValueError(f"an example of {sizes.max()} tokens does not fit into a row of {max_length}")
    if not pack:
        return RowPlan(np.arange(len(sizes)), np.arange(len(sizes) + 1))
    longest_first = np.argsort(-sizes, kind="stable")
    rooms, waiting, rows = 0, dict[int, list[int]](), 0
    row_of = np.empty(len(sizes), np.int64)
    for place, size in enumerate(sizes[longest_first].tolist()):
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = heappop(waiting[room])
            if not waiting[room]:
                rooms ^= 1 << room
        else:
            room, row, rows = max_length, rows, rows + 1
        row_of[place] = row
        heappush(waiting.setdefault(room - size, []), row)
        rooms |= 1 << (room - size)
    order = longest_first[np.argsort(row_of, kind="stable")]
    return RowPlan(order, np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))]))


def pack(examples: Sequence[Example], max_length: int, pack: bool = True) -> list[Row]:
    """The rows of examples that are at hand, as `plan_rows` has it.

    Raises:
        ValueError: an example is longer than a row.
    """
    plan = plan_rows([len(example.tokens) for example in examples], max_length, pack)
    return [Row(tuple(examples[int(at)] for at in plan[row]), max_length) for row in range(len(plan))]


class PackedRows(Sequence[StoredRow]):
    """The rows of examples that are read when they are needed.

    Args:
        read: the examples of some numbers.
        lengths: int [N], tokens of each example.
        max_length: as for `plan_rows`.
        pack: as for `plan_rows`.
    """

    def __init__(
        self, read: Callable[[Sequence[int]], tuple[Example, ...]], lengths: np.ndarray, max_length: int, pack: bool
    ) -> None:
        self._read, self._lengths, self._max_length = read, lengths, max_length
        self._plan = plan_rows(lengths, max_length, pack)

    def __len__(self) -> int:
        return len(self._plan)

    @overload
    def __getitem__(self, index: int) -> StoredRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredRow]: ...
    def __getitem__(self, index: int | slice) -> StoredRow | list[StoredRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        numbers = self._plan[range(len(self))[index]]
        sizes = tuple(self._lengths[numbers].tolist())
        return StoredRow(partial(self._read, numbers.tolist()), sizes, self._max_length)


def collate(rows: Sequence[AnyRow], needed: Collection[int] | None = None) -> Batch:
    """A batch of NumPy arrays ``[len(rows), length]``. Segments count from 1 in every row; 0 is padding.

    Args:
        needed: places of the rows whose examples are read; of the others only segments and positions are right, and
            all else is 0. None: all.

    Raises:
        ValueError: rows of different lengths.
    """
    lengths = {row.length for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"rows of one batch must have one length, not {sorted(lengths)}")
    shape = len(rows), lengths.pop()
    tokens, labels, segments, positions = (np.zeros(shape, np.int32) for _ in range(4))
    weights, turns = np.zeros(shape, np.float32), np.zeros(len(rows), np.float32)
    for index, row in enumerate(rows):
        for segment, span in enumerate(_spans(row), 1):
            segments[index, span], positions[index, span] = segment, np.arange(span.stop - span.start)
        if needed is not None and index not in needed:
            continue
        examples = row.examples
        for span, example in zip(_spans(row), examples, strict=True):
            tokens[index, span], labels[index, span] = example.tokens, example.labels
            weights[index, span] = example.weights
        turns[index] = sum(example.turns for example in examples)
    return Batch(tokens=tokens, labels=labels, weights=weights, segment_ids=segments, positions=positions, turns=turns)


def _spans(row: AnyRow) -> Iterator[slice]:
    """Where each example stands in its row."""
    start = 0
    for size in row.sizes:
        yield slice(start, start + size)
        start += size
