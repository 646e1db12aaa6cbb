"""Curriculum: prompts whose answers earned differently of late are answered again sooner.

What a group of answers teaches grows with the variance of their rewards; where all are right or wrong it is nothing.
By the same measure VCRL chooses prompts (https://arxiv.org/abs/2509.19803), from a memory of those that vary most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tl_jax.config.curriculum import CurriculumConfig


class Curriculum:
    """How much the rewards of each prompt's answers varied of late, and draws by it.

    Args:
        config: how much of a rollout is drawn, and how long is remembered.
        seed: of the draws; the same one, rollout and variances give the same prompts, in every process.
    """

    def __init__(self, config: CurriculumConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        self._variances: dict[int, float] = {}

    def observe(self, prompt: int, scores: Sequence[float]) -> None:
        """Takes in what the answers to a prompt earned; a single one says nothing."""
        if self._config.share == 0 or len(scores) < 2:
            return
        now = float(np.var(np.asarray(scores, np.float64)))
        before = self._variances.get(prompt, now)
        self._variances[prompt] = self._config.memory * before + (1 - self._config.memory) * now

    def count(self, prompts: int) -> int:
        """How many of a rollout's prompts are to be drawn."""
        return int(self._config.share * prompts)

    def draw(self, count: int, rollout: int, without: Collection[int]) -> list[int]:
        """Up to ``count`` different prompts, each in proportion to its variance, as far as there are any above 0.

        One after another, without replacement: those with the greatest ``log(u) / weight``, u uniform in (0, 1]
        (Efraimidis and Spirakis, https://arxiv.org/abs/1012.0256).
        """
        known = sorted((prompt, v) for prompt, v in self._variances.items() if v > 0 and prompt not in without)
        if not known or not count:
            return []
        prompts, variances = (np.array(column) for column in zip(*known, strict=True))
        chances = np.random.default_rng([self._seed, rollout]).random(len(prompts))
        keys = np.log1p(-chances) / variances
        return [int(prompt) for prompt in prompts[np.argsort(-keys, kind="stable")[:count]]]

    def state(self) -> list[list[Any]]:
        """JSON values from which `restore` has the variances again, to the bit."""
        return [[prompt, variance] for prompt, variance in self._variances.items()]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Accepts what `state` gives."""
        self._variances = {int(prompt): float(variance) for prompt, variance in state}
