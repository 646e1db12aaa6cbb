"""Examples -> rows of one length, several examples to a row, and rows -> the batch the device sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias, overload

import numpy as np

from tl_jax.data.batch import Batch
from tl_jax.data.supervision import Example


@dataclass(frozen=True, slots=True)
class Row:
    """Examples that stand one after another in ``length`` positions; the rest is padding."""

    examples: tuple[Example, ...]
    length: int
    skipped: tuple[int, ...] | None = None
    """of each example, first tokens that an earlier one has, see `RowPlan`; None = there are none in any row"""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each example that stand in the row."""
        skipped = self.skipped or (0,) * len(self.examples)
        return tuple(len(example.tokens) - of for example, of in zip(self.examples, skipped, strict=True))

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
    skipped: tuple[int, ...] | None = None

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
    skipped: np.ndarray | None = None
    """int64 [N], as ``order``: first tokens that do not stand again; the nearest example before with 0 has them. None =
    all stand whole"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.order[self.starts[row] : self.starts[row + 1]]

    def skipped_in(self, row: int) -> np.ndarray | None:
        """What is ``skipped`` of the examples of a row."""
        return None if self.skipped is None else self.skipped[self.starts[row] : self.starts[row + 1]]


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
        max_length: of a row.
        plan: which examples stand in which row.
    """

    def __init__(
        self,
        read: Callable[[Sequence[int]], tuple[Example, ...]],
        lengths: np.ndarray,
        max_length: int,
        plan: RowPlan,
    ) -> None:
        self._read, self._lengths, self._max_length, self._plan = read, lengths, max_length, plan

    def __len__(self) -> int:
        return len(self._plan)

    @overload
    def __getitem__(self, index: int) -> StoredRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredRow]: ...
    def __getitem__(self, index: int | slice) -> StoredRow | list[StoredRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        numbers, skipped = self._plan[row], self._plan.skipped_in(row)
        sizes = self._lengths[numbers] - (0 if skipped is None else skipped)
        return StoredRow(
            partial(self._read, numbers.tolist()),
            tuple(sizes.tolist()),
            self._max_length,
            None if skipped is None else tuple(skipped.tolist()),
        )


def collate(rows: Sequence[AnyRow], needed: Collection[int] | None = None) -> Batch:
    """A batch of NumPy arrays ``[len(rows), length]``. Segments count from 1 in every row; 0 is padding.

    Args:
        needed: places of the rows whose examples are read; of the others only segments, positions and branches are
            right, and all else is 0. None: all.

    Raises:
        ValueError: rows of different lengths, or examples that do not begin as they are said to.
    """
    lengths = {row.length for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"rows of one batch must have one length, not {sorted(lengths)}")
    shape = len(rows), lengths.pop()
    tokens, labels, segments, positions, branches = (np.zeros(shape, np.int32) for _ in range(5))
    weights, turns = np.zeros(shape, np.float32), np.zeros(len(rows), np.float32)
    for index, row in enumerate(rows):
        places = list(_places(row))
        for place in places:
            segments[index, place.span], positions[index, place.span] = place.segment, np.arange(*place.read)
            branches[index, place.span.stop - place.own : place.span.stop] = place.branch
        if needed is not None and index not in needed:
            continue
        examples = row.examples
        for place, example in zip(places, examples, strict=True):
            own = slice(*place.read)
            first = examples[place.first]
            if own.start and not np.array_equal(example.tokens[: own.start], first.tokens[: own.start]):
                raise ValueError(f"{example.id!r} does not begin with the {own.start} tokens of {first.id!r}")
            tokens[index, place.span], labels[index, place.span] = example.tokens[own], example.labels[own]
            weights[index, place.span] = example.weights[own]
        turns[index] = sum(example.turns for example in examples)
    return Batch(
        tokens=tokens,
        labels=labels,
        weights=weights,
        segment_ids=segments,
        positions=positions,
        turns=turns,
        branches=None if all(row.skipped is None for row in rows) else branches,
    )


class _Place(NamedTuple):
    """Where an example stands in its row."""

    span: slice
    read: tuple[int, int]
    """its own positions from and to, which stand there; those before are in the span of the ``first``"""
    segment: int
    branch: int
    """0 where the segment is one example's"""
    own: int
    """last positions of the span that belong to the branch"""
    first: int
    """place of the example that stands whole and has the beginning"""


def _places(row: AnyRow) -> Iterator[_Place]:
    sizes, start, segment, branch, first = row.sizes, 0, 0, 0, 0
    skipped = (*(row.skipped or (0,) * len(sizes)), 0)
    for index, size in enumerate(sizes):
        begin, after = skipped[index : index + 2]
        if begin:
            branch, own = branch + 1, size
        else:
            segment, branch, own, first = segment + 1, int(after > 0), size - after, index
        yield _Place(slice(start, start + size), (begin, begin + size), segment, branch, own, first)
        start += size
