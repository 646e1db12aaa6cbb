"""Where the tokens of a rollout stand while models read them: in rows of several episodes, and what some share once.

Episodes of a group begin with the same tokens. In a row that beginning stands once, and what each of them goes on with
follows it as a branch of its own, see `AttentionMask`. The prompt's last token belongs to the branches: the first token
of an answer is predicted there, and each has its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, takewhile
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from tl_jax.config import RlConfig
from tl_jax.data.batch import Array
from tl_jax.data.packing import plan_rows
from tl_jax.inference.buckets import bucket
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import batch_devices
from tl_jax.rl.episodes import Episode

BUSY = 8192
"""Tokens that keep a device busy. More of them at once take more memory and save no time."""
OVERHEAD = 128
"""What another part of an update costs besides its rows, in tokens: weights are gathered, gradients added up."""

SHARES = (8, 4, 2, 1)
"""Of a row may be kept an eighth, a quarter, half or all: for each a step is compiled anew."""
GROWTH = 16
"""The next longer rows that are tried are longer by one part in so many."""
NEARLY = 1.03
"""How much more a plan may cost for the sake of a rounder length of its rows."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """Each of U updates reads its episodes in M parts, one after another: R rows of T tokens, int32 [R, U, M, T].

    A part without any token is left out.
    """

    tokens: Array
    positions: Array
    """within their segments"""
    segment_ids: Array
    """0 = padding; every beginning is a segment of its row, and so is whatever a conversation that is read anew says"""
    branches: Array | None
    """as `AttentionMask` has them; None where nothing is shared"""
    sources: Array
    """where what a position predicts is kept: an index into the ``B * N`` columns of the episodes, or that number"""
    most: int | None = field(default=None, metadata={"static": True})
    """what at most so many positions of a row predict is kept, one of the `SHARES` of T; None = nobody counted"""

    @property
    def padding(self) -> float:
        """Share of the positions that are read and hold no token."""
        real = np.asarray(self.segment_ids) > 0
        read = real.any(axis=(0, 3)).sum() * real.shape[0] * real.shape[3]
        return float(1 - real.sum() / read)


class Layout(NamedTuple):
    """How the episodes of a rollout are dealt out."""

    group_size: int = 1
    """consecutive episodes that stay together, as far as they come out even"""
    epochs: int = 1
    minibatches: int = 1
    """updates of an epoch, each of as many episodes"""
    devices: int = 1
    """over which rows are spread"""
    tokens: int | None = None
    """that a device reads at once, if an episode is not longer; None = `BUSY`, and at most its share of a minibatch"""
    accumulate: int = 1
    """parts that this share is of"""
    written: int = 8
    """tokens for which there are columns however few are written: those that an answer can have"""

    @classmethod
    def of(cls, config: RlConfig, mesh: Mesh) -> Layout:
        """As a configuration says."""
        algorithm = config.algorithm
        return cls(
            config.group_size,
            algorithm.epochs,
            algorithm.minibatches,
            batch_devices(mesh),
            algorithm.tokens_per_microbatch,
            algorithm.accumulate,
            config.sampling.max_new_tokens,
        )

    def together(self, episodes: int) -> int:
        """Episodes of a group that are in one minibatch."""
        return math.gcd(self.group_size, episodes // self.minibatches)

    def most(self, episodes: Sequence[Episode]) -> int:
        """Tokens that a device may read at once."""
        longest = row_length(max(len(episode.stream) for episode in episodes))
        share = -(-len(episodes) // (self.minibatches * self.accumulate * self.devices)) * longest
        return max(self.tokens or min(share, BUSY), longest)


class Bundle(NamedTuple):
    """Episodes, by their numbers, that stand in a row with one beginning."""

    numbers: tuple[int, ...]
    shared: int
    """tokens of the beginning"""
    length: int
    """of all tokens"""


def arrange(episodes: Sequence[Episode], width: int, layout: Layout, seed: int | Sequence[int] = 0) -> Rows:
    """Deals a rollout's episodes out to updates, at random and anew for each epoch, and those of an update to rows.

    How long rows are and how many are read at once is what reads the fewest positions; a group is divided where it is
    longer than such a row, and then its beginning stands in several. Lengths are those of `row_length` and numbers
    `bucket` sizes: a step is seldom compiled anew.

    Args:
        episodes: B of them; those of a group are consecutive.
        width: N, the columns in which is kept what was written after a prompt.
        layout: what an update is of.
        seed: of the order.
    """
    updates = dealt(len(episodes), layout, seed)
    plan = _cheapest(episodes, updates, layout)
    whole, per_part = len(updates), layout.devices * plan.rows
    parts = 1 << (max(-(-len(rows) // per_part) for rows in plan.updates) - 1).bit_length()
    arrays = np.zeros((5, per_part, whole, parts, plan.length), np.int32)
    arrays[4] = len(episodes) * width
    for update, rows in enumerate(plan.updates):
        for index, row in enumerate(rows):
            part, place = divmod(index, per_part)
            slot, device = divmod(place, layout.devices)  # the last part's rows are on as many devices as can be
            _write(arrays[:, device * plan.rows + slot, update, part], row, episodes, width)
    tokens, positions, segment_ids, branches, sources = arrays
    kept = int((sources < len(episodes) * width).sum(axis=3).max())
    enough = min(plan.length // share for share in SHARES if kept * share <= plan.length)
    most = enough if Wanted.saves_work() else None
    return Rows(tokens, positions, segment_ids, branches if plan.shares else None, sources, most)


def dealt(episodes: int, layout: Layout, seed: int | Sequence[int] = 0) -> np.ndarray:
    """int [epochs * minibatches, episodes of each]: every epoch has each number once, groups together as they were.

    Example:
        >>> dealt(6, Layout(group_size=3, epochs=2, minibatches=2)).tolist()
        [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5]]
    """
    random, together = np.random.default_rng(seed), layout.together(episodes)
    groups = np.arange(episodes).reshape(-1, together)
    return np.stack([random.permutation(groups) for _ in range(layout.epochs)]).reshape(
        layout.epochs * layout.minibatches, -1
    )


def row_length(tokens: int) -> int:
    """The next multiple of 128, above 4,096 of 256, above 8,192 of 512.

    Example:
        >>> row_length(130), row_length(4097), row_length(8704), row_length(8705)
        (256, 4352, 8704, 9216)
    """
    step = 128 if tokens <= 4096 else 256 if tokens <= 8192 else 512
    return -(-tokens // step) * step


class _Plan(NamedTuple):
    cost: int
    """positions that a device reads, and what parts cost"""
    length: int
    rows: int
    """of a device in a part"""
    updates: list[list[list[Bundle]]]
    """rows of bundles"""

    @property
    def shares(self) -> bool:
        """Whether any beginning stands before several episodes."""
        return any(len(bundle.numbers) > 1 for update in self.updates for row in update for bundle in row)


def _cheapest(episodes: Sequence[Episode], updates: np.ndarray, layout: Layout) -> _Plan:
    """Of all plans; and of those that cost about the same of the roundest length, which others will have."""
    most, plans = layout.most(episodes), []
    sizes, together = np.array([len(episode.stream) for episode in episodes]), layout.together(len(episodes))
    groups = [[_bundle(episodes, numbers) for numbers in update.reshape(-1, together)] for update in updates]
    for length in _lengths(int(sizes.max()), most):
        packed = [
            _packed([part for group in update for part in _divided(group, sizes, length)], length) for update in groups
        ]
        per_device = [-(-len(update) // layout.devices) for update in packed]
        for rows in _sizes(min(max(most // length, 1), bucket(max(per_device)))):
            parts = sum(-(-update // rows) for update in per_device)
            plans.append(_Plan(parts * (rows * length + OVERHEAD), length, rows, packed))
    least = min(plan.cost for plan in plans)
    return min(plans, key=lambda plan: (plan.cost > NEARLY * least, _odd_part(plan.length), plan.cost))


def _divided(group: Bundle, sizes: np.ndarray, length: int) -> list[Bundle]:
    """As few bundles as have room in rows of ``length`` tokens; what shares nothing stands by itself."""
    if len(group.numbers) == 1 or (group.length <= length and group.shared):
        return [group]
    numbers, shared = np.array(group.numbers), group.shared
    own = sizes[numbers] - shared
    plan = plan_rows(own, length - shared, pack=shared > 0)
    chosen = (np.sort(plan[row]) for row in range(len(plan)))
    return [Bundle(tuple(numbers[some].tolist()), shared, shared + int(own[some].sum())) for some in chosen]


def _packed(bundles: Sequence[Bundle], length: int) -> list[list[Bundle]]:
    plan = plan_rows([bundle.length for bundle in bundles], length)
    return [[bundles[index] for index in plan[row]] for row in range(len(plan))]


def _lengths(longest: int, most: int) -> Iterator[int]:
    """Of rows in which the longest episode has room, where a device may read that much."""
    length = row_length(longest)
    while length <= most:
        yield length
        length = row_length(length + max(length // GROWTH, 1))


def _sizes(most: int) -> Iterator[int]:
    """`bucket` sizes up to ``most`` or the smallest that is no less than an eighth of it, the largest first."""
    size = most
    while 8 * size >= most and size >= 1:
        if size == bucket(size):
            yield size
        size -= 1


def _odd_part(number: int) -> int:
    return number // (number & -number)


def _bundle(episodes: Sequence[Episode], numbers: np.ndarray) -> Bundle:
    chosen = [episodes[number] for number in numbers]
    shared = _shared([episode.stream[: episode.prompt_length - 1] for episode in chosen])
    return Bundle(tuple(numbers.tolist()), shared, shared + sum(len(one.stream) - shared for one in chosen))


def _shared(beginnings: Sequence[list[int]]) -> int:
    """How many first tokens all have."""
    if all(one == beginnings[0] for one in beginnings):
        return len(beginnings[0])
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*beginnings, strict=False)))


def _parts(bundles: Sequence[Bundle], episodes: Sequence[Episode]) -> Iterator[tuple[int, ...]]:
    """What a row is made of: an episode's number, its tokens from and to, which of them is at position 0, segment and
    branch."""
    segment = 1
    for bundle in bundles:
        shared, own = bundle.shared, segment
        yield bundle.numbers[0], 0, shared, 0, own, 0
        for branch, number in enumerate(bundle.numbers, 1):
            first, *anew = pairwise([shared, *episodes[number].restarts, len(episodes[number].stream)])
            yield number, *first, 0, own, branch
            for begin, end in anew:
                segment += 1
                yield number, begin, end, begin, segment, branch
        segment += 1


def _write(row: np.ndarray, bundles: Sequence[Bundle], episodes: Sequence[Episode], width: int) -> None:
    """Into [5, T]: tokens, positions, segments, branches and sources. All of a row at once: episodes may be short."""
    parts = list(_parts(bundles, episodes))
    numbers, begins, ends, origins, segments, branches = np.array(parts).T
    lengths, answers = ends - begins, [episodes[number].prompt_length - 1 for number, *_ in parts]
    filled, columns = row[:, : lengths.sum()], consecutive(begins - answers, lengths)
    filled[0] = list(chain.from_iterable(episodes[number].stream[begin:end] for number, begin, end, *_ in parts))
    filled[1] = consecutive(begins - origins, lengths)
    filled[2:4] = np.repeat((segments, branches), lengths, axis=1)
    filled[4] = np.where(columns >= 0, np.repeat(numbers * width, lengths) + columns, filled[4])


def consecutive(begins: Array | Sequence[int], lengths: np.ndarray) -> np.ndarray:
    """Numbers that count on from each of ``begins``, so many.

    Example:
        >>> consecutive([5, 0], np.array([3, 2])).tolist()
        [5, 6, 7, 0, 1]
    """
    return np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
