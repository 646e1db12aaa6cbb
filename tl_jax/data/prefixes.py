"""Which examples begin with the same tokens, and rows in which such a beginning stands once.

Trajectories about the same tools begin with the same long text. In a row that beginning stands once, and what each
example goes on with follows it as a branch, see `AttentionMask`. The first target belongs to the branches, so that it
counts as often as there are examples.

Beginnings are compared by hashes of the first 64, 128, ... tokens, which are kept beside the examples: rows are planned
before anything is read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tl_jax.data.packing import RowPlan, plan_rows
from tl_jax.data.supervision import Example

STEP = 64
"""Shared beginnings are multiples of it."""
_BYTES = 8
"""of a hash; `collate` compares the tokens themselves"""


class Prefixes(NamedTuple):
    """Of N examples, hashes of their first 64, 128, ... tokens, as far as no target is among them."""

    hashes: np.ndarray
    """uint64 [sum(counts)]: each of all tokens up to there"""
    counts: np.ndarray
    """int32 [N]: hashes of each"""


def prefix_hashes(example: Example) -> array[int]:
    """Of its first ``STEP``, ``2 * STEP``, ... tokens, up to the first target."""
    targets = np.flatnonzero(example.weights)
    free = int(targets[0]) if len(targets) else 0  # one token at least is the example's own
    found, so_far = array("Q"), blake2b(digest_size=_BYTES)
    for end in range(STEP, free + 1, STEP):
        so_far.update(example.tokens[end - STEP : end].astype("<i4", copy=False).tobytes())
        found.append(int.from_bytes(so_far.digest(), "big"))
    return found


def plan_shared_rows(
    lengths: np.ndarray | Sequence[int], prefixes: Prefixes, max_length: int, at_least: int
) -> RowPlan:
    """`plan_rows` for examples of which some share their first ``at_least`` tokens or more.

    Examples with the same beginning stand together as far as a row has room; those bundles are packed like examples.
    Where some share more than others do, whichever saves more is done: all of them share what all have, or each part
    what it has.

    Args:
        lengths: tokens of each example.
        prefixes: of the same examples.
        max_length: of a row.
        at_least: tokens.
    """
    sizes = np.asarray(lengths, np.int64)
    bundles = list(_bundles(sizes, prefixes, max_length, -(-at_least // STEP)))
    if not bundles:
        return plan_rows(sizes, max_length)
    alone = np.ones(len(sizes), bool)
    for bundle in bundles:
        alone[bundle.numbers] = False
    bundles += [_Bundle(np.array([number]), 0) for number in np.flatnonzero(alone)]
    bundles.sort(key=lambda bundle: int(bundle.numbers[0]))
    rows = plan_rows(
        [bundle.shared + int((sizes[bundle.numbers] - bundle.shared).sum()) for bundle in bundles], max_length
    )
    placed = [bundles[index] for index in rows.order]
    counts = np.array([len(bundle.numbers) for bundle in placed])
    skipped = np.repeat([bundle.shared for bundle in placed], counts)
    ends = np.concatenate([[0], np.cumsum(counts)])
    skipped[ends[:-1]] = 0  # the first of a bundle stands whole
    return RowPlan(np.concatenate([bundle.numbers for bundle in placed]), ends[rows.starts], skipped)


class _Bundle(NamedTuple):
    """Examples of which the first ``shared`` tokens stand once."""

    numbers: np.ndarray
    """int64 [n], ascending"""
    shared: int


class _Choice(NamedTuple):
    """Bundles of some examples, and how many tokens they save."""

    saved: int
    bundles: list[_Bundle]


class _Node(NamedTuple):
    """Examples that share so many hashes, which are neighbours in the order of their hashes."""

    shared: int
    begin: int
    inside: list[_Choice]


def _bundles(sizes: np.ndarray, prefixes: Prefixes, max_length: int, at_least: int) -> Iterator[_Bundle]:
    """Of two examples or more each.

    Neighbours in the order of their hashes share the most. Groups of those who share so many and more form a tree, of
    which the branch down to the current example is kept; a group is decided on when its last member was seen.
    """
    order, common = _neighbours(prefixes, at_least)

    def closed(node: _Node, end: int) -> _Choice:
        numbers, shared = np.sort(order[node.begin : end]), node.shared * STEP
        apart = _Choice(
            sum(choice.saved for choice in node.inside), [b for choice in node.inside for b in choice.bundles]
        )
        plan = plan_rows(sizes[numbers] - shared, max_length - shared)
        saved = (len(numbers) - len(plan)) * shared
        if saved <= apart.saved:
            return apart
        return _Choice(
            saved, [_Bundle(np.sort(numbers[plan[row]]), shared) for row in range(len(plan)) if len(plan[row]) > 1]
        )

    branch: list[_Node] = []
    for end, shares in enumerate([*common, 0], 1):  # the next one shares so much with this one
        begin, last = end - 1, None
        while branch and branch[-1].shared > shares:
            node = branch.pop()
            begin, last = node.begin, closed(node, end)
            if branch and branch[-1].shared >= shares:
                branch[-1].inside.append(last)
                last = None
        if shares and (not branch or branch[-1].shared < shares):
            branch.append(_Node(shares, begin, [last] if last else []))
        elif last:
            yield from last.bundles


def _neighbours(prefixes: Prefixes, at_least: int) -> tuple[np.ndarray, list[int]]:
    """Numbers of the examples that share ``at_least`` hashes with another, in the order of their hashes; and how many
    each of them shares with the next one, 0 where it is fewer."""
    starts = np.cumsum(prefixes.counts, dtype=np.int64) - prefixes.counts
    long = np.flatnonzero(prefixes.counts >= at_least)
    _, group, members = np.unique(prefixes.hashes[starts[long] + at_least - 1], return_inverse=True, return_counts=True)
    several = long[members[group] > 1]
    written = memoryview(prefixes.hashes.astype(">u8").tobytes())
    ends = starts + prefixes.counts
    chains = {int(one): bytes(written[_BYTES * starts[one] : _BYTES * ends[one]]) for one in several}
    order = sorted(chains, key=chains.__getitem__)
    common = [_common(chains[one], chains[other]) for one, other in pairwise(order)]
    return np.array(order, np.int64), [shares if shares >= at_least else 0 for shares in common]


def _common(one: bytes, other: bytes) -> int:
    """Hashes that both begin with. A hash is of all tokens up to there: where one differs, all after it do."""
    low, high = 0, min(len(one), len(other)) // _BYTES
    while low < high:
        middle = (low + high + 1) // 2
        last = slice((middle - 1) * _BYTES, middle * _BYTES)
        if one[last] == other[last]:
            low = middle
        else:
            high = middle - 1
    return low
