"""Groups of answers to the same prompt, sampled until they teach something.

DAPO's dynamic sampling (https://arxiv.org/abs/2503.14476, section 3.2): a group whose answers all earned the same has
advantages of 0, and others are sampled instead.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    rewards: list[EpisodeRewards]
    """of each episode"""

    @property
    def values(self) -> list[np.ndarray]:
        """float32 [turns, R] of each episode that is not dropped."""
        return [one.values for one in self.rewards if not one.dropped]


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
        self.replaced = 0
        """groups of the latest rollout that gave way to others"""

    def __call__(self, state: RlState) -> list[AnswerGroup]:
        """The groups of the next rollout.

        Raises:
            UserError: not one episode was without fault.
        """
        self.replaced = 0
        groups = self._answered(state, self._prompts.rollout(), attempt=0)
        for attempt in range(1, self._resamples + 1):
            idle = [place for place, group in enumerate(groups) if not self._teaches(group)]
            if not idle:
                break
            self.replaced += len(idle)
            others = self._answered(state, self._prompts.more(len(idle)), attempt)
            for place, group in zip(idle, others, strict=True):
                groups[place] = group
        self._rubric.check([rewards for group in groups for rewards in group.rewards])
        return groups

    def _answered(self, state: RlState, prompts: Sequence[int], attempt: int) -> list[AnswerGroup]:
        """Answers to prompts, with a key of this step and attempt alone."""
        # 1 is the key of the step itself
        key = jax.random.fold_in(fold_key(state), attempt + 1 if attempt else 0)
        repeated = [self._prompts.prompts[index] for index in prompts for _ in range(self._size)]
        episodes = self._worker(state.params["actor"], repeated, key)
        rewards = self._rubric.of_all(episodes, self._worker.watch)
        groups = []
        for number, prompt in enumerate(prompts):
            rows = slice(number * self._size, (number + 1) * self._size)
            groups.append(AnswerGroup(prompt, episodes[rows], rewards[rows]))
            self._prompts.observe(prompt, [self._score(values) for values in groups[-1].values])
        return groups

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
