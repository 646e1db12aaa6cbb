"""Which rows the episodes of a rollout are read in: those with the fewest positions, or some of a size at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from tl_jax.config import RlConfig
from tl_jax.data.packing import plan_rows
from tl_jax.inference.buckets import bucket
from tl_jax.model.row_order import Wanted
from tl_jax.model.sharding import batch_devices
from tl_jax.rl.episodes import Episode
from tl_jax.rl.row_sizes import SHARES, Arrangement, Bundle, RowSize, RowSizes

BUSY = 8192
"""Tokens that keep a device busy. More of them at once take more memory and save no time."""
OVERHEAD = 128
"""What another part of an update costs besides its rows, in tokens: weights are gathered, gradients added up."""

GROWTH = 16
"""The next longer rows that are tried are longer by one part in so many."""
NEARLY = 1.03
"""How much more a plan may cost for the sake of a rounder length of its rows."""


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


def planned(
    episodes: Sequence[Episode], layout: Layout, seed: int | Sequence[int] = 0, sizes: RowSizes | None = None
) -> Arrangement:
    """The rows of every update of a rollout.

    Of all plans the cheapest; of those that cost about the same, that of the roundest length, which others will have.

    Args:
        episodes: those of a group are consecutive.
        layout: what an update is of.
        seed: of the order.
        sizes: that there are programs for; one of them is taken unless it would cost too much more.
    """
    together = layout.together(len(episodes))
    groups = [
        [_bundle(episodes, numbers) for numbers in update.reshape(-1, together)]
        for update in dealt(len(episodes), layout, seed)
    ]
    work = _Work(episodes, groups, layout.devices)
    best = _cheapest(work, layout.most(episodes))
    if sizes is None:
        return best
    known = [size for size in sizes.known if size.length >= work.longest]
    return sizes.chosen(best, [(size, work.in_rows(size.length, size.rows)) for size in known])


class _Work:
    """What is to be read: the groups of each update."""

    def __init__(self, episodes: Sequence[Episode], groups: list[list[Bundle]], devices: int) -> None:
        self.lengths = np.array([len(episode.stream) for episode in episodes])
        self.kept = np.array([_kept(episode) for episode in episodes])
        self.longest = int(self.lengths.max())
        self.devices = devices
        self._groups = groups
        self._packed: dict[int, list[list[list[Bundle]]]] = {}

    def packed(self, length: int) -> list[list[list[Bundle]]]:
        """The rows of every update, of ``length`` tokens."""
        if length not in self._packed:
            self._packed[length] = [
                _packed([part for group in update for part in self._divided(group, length)], length)
                for update in self._groups
            ]
        return self._packed[length]

    def per_device(self, length: int) -> list[int]:
        """Rows of a device in each update."""
        return [-(-len(update) // self.devices) for update in self.packed(length)]

    def in_rows(self, length: int, rows: int) -> Arrangement:
        """So many rows of ``length`` tokens at once on each device."""
        updates, parts = self.packed(length), [-(-update // rows) for update in self.per_device(length)]
        kept = max(sum(bundle.kept for bundle in row) for update in updates for row in update)
        keeps = max(share for share in SHARES if kept * share <= length) if Wanted.saves_work() else 0
        branches = any(len(bundle.numbers) > 1 for update in updates for row in update for bundle in row)
        size = RowSize(length, rows, 1 << (max(parts) - 1).bit_length(), keeps, branches)
        return Arrangement(sum(parts) * (rows * length + OVERHEAD), size, updates)

    def _divided(self, group: Bundle, length: int) -> list[Bundle]:
        """As few bundles as have room in rows of ``length`` tokens; what shares nothing stands by itself."""
        if len(group.numbers) == 1 or (group.length <= length and group.shared):
            return [group]
        numbers, shared = np.array(group.numbers), group.shared
        own = self.lengths[numbers] - shared
        plan = plan_rows(own, length - shared, pack=shared > 0)
        chosen = (np.sort(plan[row]) for row in range(len(plan)))
        return [
            Bundle(
                tuple(numbers[some].tolist()),
                shared,
                shared + int(own[some].sum()),
                int(self.kept[numbers[some]].sum()),
            )
            for some in chosen
        ]


def _cheapest(work: _Work, most: int) -> Arrangement:
    """Of all plans in which a device reads at most so many tokens at once."""
    plans = [
        work.in_rows(length, rows)
        for length in _lengths(work.longest, most)
        for rows in _sizes(min(max(most // length, 1), bucket(max(work.per_device(length)))))
    ]
    least = min(plan.cost for plan in plans)
    return min(plans, key=lambda plan: (plan.cost > NEARLY * least, _odd_part(plan.size.length), plan.cost))


def _kept(episode: Episode) -> int:
    """Tokens that predict what is kept: from the prompt's last one on."""
    return len(episode.stream) - episode.prompt_length + 1


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
    length = shared + sum(len(one.stream) - shared for one in chosen)
    return Bundle(tuple(numbers.tolist()), shared, length, sum(map(_kept, chosen)))


def _shared(beginnings: Sequence[list[int]]) -> int:
    """How many first tokens all have."""
    if all(one == beginnings[0] for one in beginnings):
        return len(beginnings[0])
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*beginnings, strict=False)))
