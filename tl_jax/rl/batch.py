"""Rollouts as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import jax
import numpy as np

from tl_jax.data.batch import Array
from tl_jax.inference.buckets import bucket
from tl_jax.rl.episodes import Episode
from tl_jax.rl.row_plans import Layout
from tl_jax.rl.row_sizes import RowSizes
from tl_jax.rl.rows import Rows, arrange, consecutive


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RolloutBatch:
    """B episodes: what the policy wrote in ``N`` columns, and the rows in which models read them.

    A label is the token written after reading the column's token, as in training: the EOS of a turn is a label even
    where the conversation goes on with something else. Column 0 has read the prompt; the columns after it read what
    follows, tools' results included.
    """

    rows: Rows
    labels: Array
    """int32 [B, N]: what was written."""
    mask: Array
    """bool [B, N]: where something was, EOS included. Never in the last column, whose value tells what a policy that
    was cut off might still expect."""
    turns: Array
    """int32 [B, N]: the number of the turn that wrote it, from 0; 0 outside the mask."""
    logprobs: Array
    """float32 [B, N]: what the sampler says of its tokens."""
    drawn_logprobs: Array
    """float32 [B, N]: the same in the distribution that it drew them from, after top-k and top-p."""
    rewards: Array
    """float32 [B, N, R]: R rewards, on the last token of the turn that earned them."""
    weights: Array
    """float32 [B, N]: what a token counts in the losses of the policy, that of its turn; 0 outside the mask."""
    cut_off: Array
    """bool [B]: ends in the middle of an answer, where the critic knows what it expects. After an answer's end, where
    other limits end an episode, it has never been asked."""


def collate(
    episodes: Sequence[Episode],
    rewards: Sequence[np.ndarray],
    weights: Sequence[np.ndarray] | None = None,
    layout: Layout | None = None,
    seed: int | Sequence[int] = 0,
    sizes: RowSizes | None = None,
) -> RolloutBatch:
    """Arrays of a few sizes only, so that a step is seldom compiled anew: N - 1 is a `bucket` size, of `Layout.written`
    tokens at least.

    Args:
        episodes: B of them.
        rewards: for each one, float32 [turns, R].
        weights: for each one, float32 [turns], what a turn counts in the policy's losses; by default 1.
        layout: how they are dealt out to updates; by default to one.
        seed: of that.
        sizes: those of rollouts before, see `arrange`.
    """
    layout = layout or Layout()
    width = bucket(max(len(episode.stream) - episode.prompt_length for episode in episodes), layout.written) + 1
    width = sizes.columns(width) if sizes else width
    count = len(episodes)
    weights = [np.ones(len(episode.turns)) for episode in episodes] if weights is None else weights
    of_turns = [
        (turn, row * width + turn.predict_from + 1 - episode.prompt_length, number, each)
        for row, (episode, values, weight) in enumerate(zip(episodes, rewards, weights, strict=True))
        for number, (turn, _, each) in enumerate(zip(episode.turns, values, weight, strict=True))
    ]
    turns, begins, numbers, counts = zip(*of_turns, strict=True)
    lengths = np.array([len(turn.tokens) for turn in turns])
    drawn = (turn.logprobs if turn.drawn_logprobs is None else turn.drawn_logprobs for turn in turns)
    written, last = consecutive(begins, lengths), begins + lengths - 1

    def columns(values: Any, dtype: type, places: np.ndarray = written) -> np.ndarray:
        """[B, N, ...] with ``values`` in some of the columns, 0 in the others."""
        out = np.zeros((count * width, *np.shape(values)[1:]), dtype)
        out[places] = values
        return out.reshape(count, width, *out.shape[1:])

    return RolloutBatch(
        rows=arrange(episodes, width, layout, seed, sizes),
        labels=columns(list(chain.from_iterable(turn.tokens for turn in turns)), np.int32),
        mask=columns(np.ones(len(written)), np.bool_),
        turns=columns(np.repeat(numbers, lengths), np.int32),
        logprobs=columns(list(chain.from_iterable(turn.logprobs for turn in turns)), np.float32),
        drawn_logprobs=columns(list(chain.from_iterable(drawn)), np.float32),
        rewards=columns(np.concatenate(rewards), np.float32, last),
        weights=columns(np.repeat(counts, lengths), np.float32),
        cut_off=np.array([not episode.turns[-1].finished for episode in episodes]),
    )
