"""Where the tokens of a rollout stand while models read them: in rows of several episodes, and what some share once.

Episodes of a group begin with the same tokens. In a row that beginning stands once, and what each of them goes on with
follows it as a branch of its own, see `AttentionMask`. The prompt's last token belongs to the branches: the first token
of an answer is predicted there, and each has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

import jax
import numpy as np

from tl_jax.data.batch import Array
from tl_jax.rl.episodes import Episode
from tl_jax.rl.row_plans import Layout, planned
from tl_jax.rl.row_sizes import Bundle, RowSizes


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


def arrange(
    episodes: Sequence[Episode],
    width: int,
    layout: Layout,
    seed: int | Sequence[int] = 0,
    sizes: RowSizes | None = None,
) -> Rows:
    """Deals a rollout's episodes out to updates, at random and anew for each epoch, and those of an update to rows.

    How long rows are and how many are read at once is what reads the fewest positions; a group is divided where it is
    longer than such a row, and then its beginning stands in several. Lengths are those of `row_length` and numbers
    `bucket` sizes: a step is seldom compiled anew.

    Args:
        episodes: B of them; those of a group are consecutive.
        width: N, the columns in which is kept what was written after a prompt.
        layout: what an update is of.
        seed: of the order.
        sizes: of rollouts before, which this one takes rather than another that is little better.
    """
    plan = planned(episodes, layout, seed, sizes)
    size, per_part = plan.size, layout.devices * plan.size.rows
    arrays = np.zeros((5, per_part, len(plan.updates), size.parts, size.length), np.int32)
    arrays[4] = len(episodes) * width
    for update, rows in enumerate(plan.updates):
        for index, row in enumerate(rows):
            part, place = divmod(index, per_part)
            slot, device = divmod(place, layout.devices)  # the last part's rows are on as many devices as can be
            _write(arrays[:, device * size.rows + slot, update, part], row, episodes, width)
    tokens, positions, segment_ids, branches, sources = arrays
    most = size.length // size.keeps if size.keeps else None
    return Rows(tokens, positions, segment_ids, branches if size.branches else None, sources, most)


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
