"""Groups of answers to the same prompt, sampled until they teach something.

DAPO's dynamic sampling (https://arxiv.org/abs/2503.14476, section 3.2): a group whose answers all earned the same has
advantages of 0, and others are sampled instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import jax
import numpy as np

from tl_jax.config import RlConfig
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.rl.episodes import Episode
from tl_jax.rl.prompt_sampler import PromptSampler
from tl_jax.rl.rollout import RolloutWorker
from tl_jax.rl.rubric import EpisodeRewards, Rubric
from tl_jax.rl.state import RlState
from tl_jax.training.state import fold_key


class AnswerGroup(NamedTuple):
    """What became of one prompt."""

    prompt: int
    """its index"""
    episodes: list[Episode]
    rewards: list[EpisodeRewards] | None = None
    """of each episode; None = they are still to be had"""

    @property
    def values(self) -> list[np.ndarray]:
        """float32 [turns, R] of each episode that is not dropped."""
        return [one.values for one in self.rewards or () if not one.dropped]


class Rollout(NamedTuple):
    """The groups that a step learns from."""

    groups: tuple[AnswerGroup, ...]
    replaced: int = 0
    """groups that gave way to others"""
    staleness: int = 0
    """steps that the policy learns between sampling them and learning from them"""
    seconds_rewards: float = 0.0

    @property
    def episodes(self) -> list[Episode]:
        return [episode for group in self.groups for episode in group.episodes]

    @property
    def rewards(self) -> list[EpisodeRewards]:
        """Of each episode that has got them."""
        return [rewards for group in self.groups for rewards in group.rewards or ()]


class GroupSampler:
    """Answers the prompts of a rollout.

    Args:
        config: how many prompts, how often each, and how often groups may be replaced.
        worker: samples the episodes.
        rubric: rewards them.
        prompts: which come next.
    """

    def __init__(self, config: RlConfig, worker: RolloutWorker, rubric: Rubric, prompts: PromptSampler) -> None:
        self._size, self._resamples, self._algorithm = config.group_size, config.max_resamples, config.algorithm
        self._worker, self._rubric, self._prompts = worker, rubric, prompts

    def sample(self, state: RlState, ahead: int = 0) -> Rollout:
        """A rollout with the parameters of ``state``. Those of its groups that were sampled last have no rewards yet:
        for these no parameters are needed, see `rewarded`.

        Args:
            state: that of the step to come.
            ahead: how many steps after that one the rollout is for.
        """
        replaced, seconds = 0, 0.0
        groups = self._answered(state, ahead, self._prompts.rollout(), attempt=0)
        for attempt in range(1, self._resamples + 1):
            began = time.perf_counter()
            given = self._given(groups)
            self._observe(groups, given)
            seconds += time.perf_counter() - began
            groups = given
            idle = [place for place, group in enumerate(groups) if not self._teaches(group)]
            if not idle:
                break
            replaced += len(idle)
            others = self._answered(state, ahead, self._prompts.more(len(idle)), attempt)
            for place, group in zip(idle, others, strict=True):
                groups[place] = group
        return Rollout(tuple(groups), replaced, ahead, seconds)

    def rewarded(self, rollout: Rollout) -> Rollout:
        """The same with the rewards of all its groups.

        Raises:
            UserError: not one episode was without fault.
        """
        if all(group.rewards is not None for group in rollout.groups):
            return rollout
        began = time.perf_counter()
        groups = self._given(rollout.groups)
        seconds = rollout.seconds_rewards + time.perf_counter() - began
        found = rollout._replace(groups=tuple(groups), seconds_rewards=seconds)
        self._rubric.check(found.rewards)
        self._observe(rollout.groups, groups)
        return found

    def _answered(self, state: RlState, ahead: int, prompts: Sequence[int], attempt: int) -> list[AnswerGroup]:
        """Answers to prompts, with a key of this rollout and attempt alone."""
        # 1 is the key of the step itself
        key = jax.random.fold_in(fold_key(state, ahead), attempt + 1 if attempt else 0)
        repeated = [self._prompts.prompts[index] for index in prompts for _ in range(self._size)]
        episodes = iter(self._worker(state.params["actor"], repeated, key))
        return [AnswerGroup(prompt, list(islice(episodes, self._size))) for prompt in prompts]

    def _given(self, groups: Sequence[AnswerGroup]) -> list[AnswerGroup]:
        """The groups, with rewards for those that have none."""
        new = [episode for group in groups if group.rewards is None for episode in group.episodes]
        rewards = iter(self._rubric.of_all(new, self._worker.watch))
        return [
            group._replace(rewards=list(islice(rewards, len(group.episodes)))) if group.rewards is None else group
            for group in groups
        ]

    def _observe(self, before: Sequence[AnswerGroup], after: Sequence[AnswerGroup]) -> None:
        """Tells what earned what, of the groups that had no rewards before."""
        for old, group in zip(before, after, strict=True):
            if old.rewards is None:
                self._prompts.observe(group.prompt, [self._score(values) for values in group.values])

    def _score(self, values: np.ndarray) -> float:
        return float(values.sum(axis=0, dtype=np.float64) @ np.array(self._rubric.weights))

    def _teaches(self, group: AnswerGroup) -> bool:
        """Whether answers can be told apart by what the estimator compares; see `EstimatorInputs.equal`."""
        estimator, weights = ESTIMATORS.find(self._algorithm.estimator), np.array(self._rubric.weights)
        compared = [values * weights for values in group.values]
        by_turn = self._algorithm.advantage_scope == "turn"
        if not estimator.rewards_apart:
            outcome = np.array([by_turn and kind == "outcome" for kind in self._rubric.kinds])
            columns = np.stack([~outcome, outcome], axis=1)  # what is added up before it is compared
            compared = [values @ columns for values in compared]
        if estimator.always_by_turn or by_turn:
            return any(differ(turn) for turn in returns_of_turns(compared))
        return differ([values.sum(axis=0) for values in compared])


def returns_of_turns(rewards: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """For each turn, what the episodes that have it earn from it on, [C] each.

    Args:
        rewards: of each episode, [turns, C].

    Example:
        >>> [
        ...     [to_come.tolist() for to_come in turn]
        ...     for turn in returns_of_turns([np.array([[1], [2]]), np.array([[5]])])
        ... ]
        [[[3], [5]], [[2]]]
    """
    to_come = [np.cumsum(values[::-1], axis=0)[::-1] for values in rewards]
    return [[one[turn] for one in to_come if len(one) > turn] for turn in range(max(map(len, rewards), default=0))]


def differ(returns: Sequence[np.ndarray]) -> bool:
    """Whether there are two that are not the same to float32."""
    return len(returns) > 1 and bool(np.any(np.ptp(np.asarray(returns, np.float32), axis=0) > 0))
