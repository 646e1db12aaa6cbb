"""Rollouts as arrays."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.helpers import TINY
from tl_jax.model.llama import init_params, make_graphdef, merge
from tl_jax.rl.batch import RolloutBatch, collate
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.row_plans import Layout
from tl_jax.tooluse.schema import Call, Case, Message, Tool

CASE = Case("c", (Tool("go"),), (Message("user", "go"),), ((Call("go"),),))


def single(prompt: list[int], written: list[int], finished: bool = True) -> Episode:
    """One answer; the sampler said -1, -2, ... of its tokens."""
    logprobs = tuple(-1.0 - i for i in range(len(written)))
    turn = Turn(CASE, "", finished, len(prompt) - 1, tuple(written), logprobs)
    return Episode(CASE, prompt + written, len(prompt), [turn], truncated=not finished)


def of(*episodes: Episode, values: float = 0.5) -> RolloutBatch:
    return collate(episodes, [np.full((len(one.turns), 1), values, np.float32) for one in episodes])


def read(rollout: RolloutBatch, number: int, columns: int) -> list[int]:
    """The tokens that the first columns of an episode read."""
    width = rollout.mask.shape[1]
    return [int(rollout.rows.tokens[rollout.rows.sources == number * width + column][0]) for column in range(columns)]


def test_columns_begin_with_the_prompts_last_token() -> None:
    rollout = of(single([5, 6], [9, 8, 2]), single([4, 5, 6, 7], [7, 2]))
    assert rollout.mask.shape == (2, 9)
    assert (read(rollout, 0, 4), read(rollout, 1, 3)) == ([6, 9, 8, 2], [7, 7, 2])
    assert (rollout.rows.segment_ids > 0).sum() == 5 + 6
    assert rollout.labels[0, :4].tolist() == [9, 8, 2, 0]
    assert rollout.mask[0, :4].tolist() == [True, True, True, False]
    assert rollout.logprobs[0, :4].tolist() == [-1, -2, -3, 0]
    assert rollout.rewards[..., 0].tolist() == [[0, 0, 0.5] + [0] * 6, [0, 0.5] + [0] * 7]
    assert rollout.rewards.dtype == np.float32


def test_there_are_columns_for_what_might_have_been_written() -> None:
    """So a step that was compiled for a rollout serves the next, whose answers are shorter."""
    rewards, layout = [np.zeros((1, 1), np.float32)], Layout(written=20)
    shapes = {collate([single([5], [7] * count)], rewards, layout=layout).mask.shape for count in (1, 9, 17, 20)}
    assert shapes == {(1, 25)}
    assert collate([single([5], [7] * 30)], rewards, layout=layout).mask.shape == (1, 33)


def test_labels_are_what_was_written_after_their_column() -> None:
    rollout = of(single([5, 6], [9, 8, 2]), single([4], [7, 2]))
    for row, columns in enumerate((3, 2)):
        assert rollout.mask[row].sum() == columns
        assert read(rollout, row, columns + 1)[1:] == rollout.labels[row, :columns].tolist()


def test_the_mask_is_not_derived_from_the_pad_id() -> None:
    """EOS is the pad id here: a target where it was written and nowhere else, not in a prompt full of it."""
    rollout = of(single([0, 0, 5], [9, 0]), single([0, 0, 5], [9, 9, 9, 9], finished=False))
    assert rollout.mask[:, :5].tolist() == [[True, True, False, False, False], [True] * 4 + [False]]
    assert (rollout.rows.segment_ids > 0).sum() == 5 + 7
    assert rollout.cut_off.tolist() == [False, True]


def test_a_conversation_that_is_read_anew_sees_nothing_before() -> None:
    """A template rewrote the past: the second turn answers a prompt of its own, behind the first turn's tokens."""
    turns = [Turn(CASE, "", True, 1, (9, 2), (-1.0, -2.0)), Turn(CASE, "", True, 6, (8, 2), (-3.0, -4.0))]
    rollout = of(Episode(CASE, [5, 6, 9, 2, 4, 3, 7, 8, 2], 2, turns, restarts=[4]))
    tokens, segment_ids, positions = (
        x[0, 0, 0, :10].tolist() for x in (rollout.rows.tokens, rollout.rows.segment_ids, rollout.rows.positions)
    )
    assert tokens == [5, 6, 9, 2, 4, 3, 7, 8, 2, 0]
    assert segment_ids == [1, 1, 1, 1, 2, 2, 2, 2, 2, 0]
    assert positions == [0, 1, 2, 3, 0, 1, 2, 3, 4, 0]
    assert rollout.mask[0, :8].tolist() == [True, True, False, False, False, True, True, False]
    assert rollout.labels[0, rollout.mask[0]].tolist() == [9, 2, 8, 2]
    assert rollout.logprobs[0, rollout.mask[0]].tolist() == [-1, -2, -3, -4]


@pytest.mark.slow
def test_what_is_read_anew_is_answered_as_if_alone() -> None:
    """The model's logits for a turn of such an episode are those of the turn in an episode of its own."""
    config = replace(TINY, num_layers=1)
    model = merge(make_graphdef(config, dtype="float32", remat="none"), init_params(config, jax.random.key(1)))
    turns = [Turn(CASE, "", True, 1, (9, 2), (-1.0, -2.0)), Turn(CASE, "", True, 6, (8, 2), (-3.0, -4.0))]
    both = of(Episode(CASE, [5, 6, 9, 2, 4, 3, 7, 8, 2], 2, turns, restarts=[4]))
    alone = [of(single([5, 6], [9, 2])), of(single([4, 3, 7], [8, 2]))]

    def logits(rollout: RolloutBatch) -> np.ndarray:
        rows = rollout.rows
        inputs = (x[:, 0, 0] for x in (rows.tokens, rows.positions, rows.segment_ids))
        found, columns = np.asarray(model(*map(jnp.asarray, inputs)))[0], rows.sources[0, 0, 0].tolist()
        return np.stack([found[columns.index(column)] for column in np.flatnonzero(rollout.mask)])

    np.testing.assert_allclose(logits(both), np.concatenate(list(map(logits, alone))), atol=1e-5)


def test_a_tools_reply_is_read_and_is_no_target() -> None:
    """Two turns: the EOS of the first is a label although the conversation goes on with other tokens."""
    turns = [Turn(CASE, "", True, 1, (9, 2), (-1.0, -2.0)), Turn(CASE, "", True, 6, (8, 2), (-3.0, -4.0))]
    episode = Episode(CASE, [5, 6, 9, 30, 31, 32, 33, 8, 2], 2, turns)
    rollout = collate([episode], [np.float32([[1.0], [-0.25]])])
    assert (rollout.rows.segment_ids > 0).sum() == 9
    inside = rollout.mask[0].nonzero()[0].tolist()
    assert inside == [0, 1, 5, 6]
    assert rollout.labels[0, inside].tolist() == [9, 2, 8, 2]
    assert rollout.logprobs[0, inside].tolist() == [-1, -2, -3, -4]
    assert rollout.rewards[0, inside, 0].tolist() == [0, 1.0, 0, -0.25]
    assert read(rollout, 0, 3) == [6, 9, 30]  # what follows the answer, not EOS


def test_a_turns_weight_is_that_of_its_tokens() -> None:
    turns = [Turn(CASE, "", True, 1, (9, 2), (-1.0, -2.0)), Turn(CASE, "", True, 6, (8, 7, 2), (-3.0,) * 3)]
    episode = Episode(CASE, [5, 6, 9, 30, 31, 32, 33, 8, 7, 2], 2, turns)
    rewards = [np.zeros((2, 1), np.float32)]
    rollout = collate([episode], rewards, [np.array([0.25, 1])])
    assert rollout.weights[0].tolist() == [0.25, 0.25, 0, 0, 0, 1, 1, 1, 0]
    np.testing.assert_array_equal(collate([episode], rewards).weights, rollout.mask)


def test_fractional_rewards_are_kept() -> None:
    rollout = collate([single([5], [9, 2])], [np.float32([[-0.25, 1 / 3]])])
    np.testing.assert_allclose(rollout.rewards[0, 1], [-0.25, 1 / 3], rtol=1e-6)


def test_sizes_are_few() -> None:
    shapes = set()
    for size in range(1, 60):
        rollout = of(single([5] * size, [9] * (1 + size % 13)))
        shapes.add((rollout.rows.tokens.shape, rollout.mask.shape))
        assert (rollout.rows.segment_ids > 0).sum() == size + 1 + size % 13
    assert len(shapes) < 4
