"""Rollouts as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from tl_jax.data.batch import Array
from tl_jax.inference.buckets import bucket
from tl_jax.rl.episodes import Episode


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RolloutBatch:
    """B episodes: what the policy read, ``T`` tokens, and what it wrote at the last ``N`` of them.

    A label is the token written after reading the column's token, as in training: the EOS of a turn is a label even
    where the conversation goes on with something else. Prompts are padded on the left and end at column ``T - N``.
    """

    tokens: Array
    """int32 [B, T]: what was read, tools' results included."""
    positions: Array
    """int32 [B, T]: from 0 at the prompt's first token, and wherever the conversation is read anew."""
    segment_ids: Array
    """int32 [B, T]: 1 = read, 2, 3, ... = read anew (`Episode.restarts`), 0 = padding on either side."""
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
) -> RolloutBatch:
    """Arrays of a few sizes only, so that a step is seldom compiled anew: T and N - 1 are `bucket` sizes.

    Args:
        episodes: B of them.
        rewards: for each one, float32 [turns, R].
        weights: for each one, float32 [turns], what a turn counts in the policy's losses; by default 1.
    """
    after = max(len(episode.stream) - episode.prompt_length for episode in episodes)
    length, width = padded_lengths(max(episode.prompt_length for episode in episodes), after)
    rows, start = len(episodes), length - width
    tokens, segments, positions = np.zeros((3, rows, length), np.int32)
    labels, turns = np.zeros((2, rows, width), np.int32)
    mask = np.zeros((rows, width), bool)
    logprobs, drawn, counts = np.zeros((3, rows, width), np.float32)
    earned = np.zeros((rows, width, rewards[0].shape[1]), np.float32)
    weights = [np.ones(len(episode.turns)) for episode in episodes] if weights is None else weights
    for row, (episode, values, weight) in enumerate(zip(episodes, rewards, weights, strict=True)):
        first = start + 1 - episode.prompt_length
        read = slice(first, first + len(episode.stream))
        starts = np.array([0, *episode.restarts])
        places = np.arange(len(episode.stream))
        segment = np.searchsorted(starts, places, side="right")
        tokens[row, read], segments[row, read] = episode.stream, segment
        positions[row, first:] = len(episode.stream) - 1 - starts[-1]
        positions[row, read] = places - starts[segment - 1]
        for number, (turn, value, count) in enumerate(zip(episode.turns, values, weight, strict=True)):
            begin = turn.predict_from + 1 - episode.prompt_length
            written = slice(begin, begin + len(turn.tokens))
            labels[row, written], mask[row, written], logprobs[row, written] = turn.tokens, True, turn.logprobs
            drawn[row, written] = turn.logprobs if turn.drawn_logprobs is None else turn.drawn_logprobs
            turns[row, written], counts[row, written] = number, count
            earned[row, written.stop - 1] = value
    return RolloutBatch(
        tokens=tokens,
        positions=positions,
        segment_ids=segments,
        labels=labels,
        mask=mask,
        turns=turns,
        logprobs=logprobs,
        drawn_logprobs=drawn,
        rewards=earned,
        weights=counts,
        cut_off=np.array([not episode.turns[-1].finished for episode in episodes]),
    )


def padded_lengths(prompt: int, written: int) -> tuple[int, int]:
    """T and N of the longest prompt and of the most that was read after one.

    Example:
        >>> padded_lengths(prompt=1000, written=500)
        (1536, 513)
    """
    width = bucket(written, 8) + 1
    return bucket(prompt + width - 1, 16), width
