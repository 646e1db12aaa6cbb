"""Rollouts: which prompts are answered at which step, what the answers are worth, and their one array shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grain
import jax
import numpy as np

from tl_jax.config import PpoAlgorithmConfig
from tl_jax.data.batch import Array
from tl_jax.errors import UserError
from tl_jax.evaluation.sampler import Sampler
from tl_jax.evaluation.suites import Prompt
from tl_jax.model.generate import Generation, bucket
from tl_jax.model.parameters import Params
from tl_jax.tooluse.reward import Reward, resolve_profile, score
from tl_jax.tooluse.schema import Case
from tl_jax.training.losses import resolve

RewardFn = Callable[[str, Case], Reward]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rollout:
    """B answers with their prompts: prompts end at column P, padded on the left, answers begin there (N columns)."""

    tokens: Array
    """int32 [B, P + N]"""
    positions: Array
    """int32 [B, P + N]: from 0 at the prompt's first token."""
    segment_ids: Array
    """int32 [B, P + N]: 1 = prompt or answer, 0 = padding on either side."""
    mask: Array
    """bool [B, N]: the answer's tokens, EOS included."""
    logprobs: Array
    """float32 [B, N]: what the sampler says of its tokens."""
    scores: Array
    """float32 [B]: the reward of the whole answer."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer, for people to look at."""

    case: Case
    text: str
    reward: Reward
    finished: bool
    """ended by EOS and not by the limit"""


class PromptOrder:
    """Which prompts step ``n`` answers: shuffled anew in every epoch, a pure function of prompts, size, seed and n."""

    def __init__(self, prompts: Sequence[Prompt], batch_size: int, seed: int) -> None:
        self._identity = {"prompts": len(prompts), "batch_size": batch_size, "seed": seed}
        self._batches = grain.MapDataset.source(prompts).seed(seed).shuffle().repeat().batch(batch_size, batch_fn=list)

    def __getitem__(self, step: int) -> list[Prompt]:
        """The prompts of a step, from 0."""
        batch: list[Prompt] = self._batches[step]
        return batch

    def state(self, step: int) -> dict[str, Any]:
        """Goes into the checkpoint after ``step`` rollouts; fit for JSON."""
        return {**self._identity, "step": step}

    def check(self, state: dict[str, Any]) -> None:
        """Raises `UserError` unless this order continues the one of ``state``."""
        changed = [f"{name}: {state.get(name)} then, {now} now" for name, now in self._identity.items()
                   if state.get(name) != now]  # fmt: skip
        if changed:
            raise UserError(f"cannot continue the prompts where they were left ({'; '.join(changed)})")


def resolve_reward(name: str) -> RewardFn:
    """A profile of `tl_jax.tooluse.reward` or a table in a YAML file, or the user's ``module:function``, a function of
    ``(prediction, case)`` that returns a number.

    Raises:
        UserError: no such profile or function. The function's result raises it too unless it is a finite number.
    """
    if ":" not in name:
        return partial(score, profile=resolve_profile(name))
    function = resolve(name)

    def reward(prediction: str, case: Case) -> Reward:
        result = function(prediction, case)
        try:
            value = float(result)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"reward {name}: gave {result!r} for case {case.id!r}; it must return a finite number")
        return Reward(value, "custom", f"{name}: {value:+g}")

    return reward


def collect(
    sampler: Sampler, params: Params, prompts: Sequence[Prompt], key: jax.Array, reward: RewardFn,
    config: PpoAlgorithmConfig, min_length: int = 16,
) -> tuple[Rollout, list[Completion]]:  # fmt: skip
    """Samples an answer to every prompt and rewards it. The rollout is made of NumPy arrays."""
    generation = sampler.generate(params, [prompt.tokens for prompt in prompts], key)
    completions = [
        Completion(prompt.case, text, reward(text, prompt.case), bool(finished))
        for prompt, text, finished in zip(prompts, sampler.texts(generation), generation.finished, strict=True)
    ]
    scores = [final_score(completion, config) for completion in completions]
    return assemble([prompt.tokens for prompt in prompts], generation, scores, min_length), completions


def final_score(completion: Completion, config: PpoAlgorithmConfig) -> float:
    """The reward held to ``+-reward_clip``, less ``missing_eos_penalty`` if the answer was cut off."""
    value, limit = completion.reward.value, config.reward_clip
    if limit is not None:
        value = min(max(value, -limit), limit)
    return value if completion.finished else value - (config.missing_eos_penalty or 0.0)


def assemble(
    prompts: Sequence[Sequence[int]], generation: Generation, scores: Sequence[float], min_length: int = 16
) -> Rollout:
    """Arrays of a few sizes only, so that a step is seldom compiled anew: P + N and N are `bucket` sizes."""
    limit = generation.tokens.shape[1]
    width = min(bucket(int(generation.lengths.max()), 8), limit)
    length = bucket(max(map(len, prompts)) + width, min_length)
    start = length - width
    mask = np.arange(width) < generation.lengths[:, None]
    tokens, segments = np.zeros((2, len(prompts), length), np.int32)
    tokens[:, start:] = generation.tokens[:, :width]
    segments[:, start:] = mask
    for row, prompt in enumerate(prompts):
        tokens[row, start - len(prompt) : start] = prompt
        segments[row, start - len(prompt) : start] = 1
    return Rollout(
        tokens=tokens,
        positions=np.maximum(np.cumsum(segments, axis=1) - 1, 0).astype(np.int32),
        segment_ids=segments,
        mask=mask,
        logprobs=generation.logprobs[:, :width].astype(np.float32),
        scores=np.asarray(scores, np.float32),
    )
