"""Rewards: what turns and episodes are worth, by the rewards that a configuration names."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tl_jax.bucket_files import profile_from
from tl_jax.config import RlConfig
from tl_jax.config.estimators import ESTIMATORS
from tl_jax.config.faults import FaultsConfig
from tl_jax.config.rewards import LIVE, RewardKind
from tl_jax.errors import UserError
from tl_jax.plugins import Plugin, bind
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.rl.faults import FaultyResult, NothingLeftError, described, is_fault, retried
from tl_jax.rl.length_penalty import LengthPenalty
from tl_jax.rl.waiting import GLANCE_SECONDS, NO_WATCH, OneByOne, Watch
from tl_jax.tooluse.rewards.episode import EPISODE_REWARDS
from tl_jax.tooluse.rewards.live import live_reward
from tl_jax.tooluse.rewards.score import Reward, score
from tl_jax.training.distributed import agreed
from tl_jax.training.stop import Interrupted


@dataclass(frozen=True)
class TurnReward:
    """A reward of a turn; R of them, and what else is rewarded, are the columns of `EpisodeRewards`."""

    function: Callable[[Turn], Reward]
    needs_gold: bool = False
    """compares the turn with the gold calls of its case"""

    def __call__(self, turn: Turn) -> Reward:
        return self.function(turn)


@dataclass(frozen=True)
class EpisodeRewards:
    """An episode's rewards."""

    values: np.ndarray
    """float32 [turns, R], as they enter the advantages: held to ``reward_clip``, penalty and episode included"""
    turns: tuple[tuple[Reward, ...], ...]
    """what each turn earned from each reward, as it was given"""
    fault: str = ""
    """how a reward or the environment failed; empty where none did"""
    dropped: bool = False
    """the episode is neither learnt from nor counted"""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EpisodeRewards:
        """Accepts what `to_json` writes."""
        turns = tuple(tuple(Reward(*reward) for reward in turn) for turn in row["turns"])
        return cls(np.array(row["values"], np.float32), turns, row["fault"], row["dropped"])

    def to_json(self) -> dict[str, Any]:
        turns = [[(one.value, one.category, one.explanation) for one in turn] for turn in self.turns]
        return {"values": self.values.tolist(), "turns": turns, "fault": self.fault, "dropped": self.dropped}


@dataclass(frozen=True)
class Rubric:
    """The rewards of a configuration; R of them, each with a weight."""

    turn_rewards: Mapping[str, TurnReward]
    weights: tuple[float, ...]
    """[R]: those of the turn's rewards, then 1 for the penalty and the episode's reward where there are any"""
    reward_clip: float | None
    length_penalty: LengthPenalty | None
    episode_reward: Callable[[Episode], float] | None
    faults: FaultsConfig
    nonnegative: bool = False
    """refuses rewards below 0, of which the estimator makes no sense"""
    _calls: OneByOne = field(default_factory=OneByOne)
    """of the rewards: functions of the user's may hang"""

    @property
    def kinds(self) -> tuple[RewardKind, ...]:
        """[R], as ``weights``."""
        kinds: list[RewardKind] = ["turn"] * len(self.turn_rewards)
        if self.length_penalty:
            kinds.append("penalty")
        if self.episode_reward is not None:
            kinds.append("outcome")
        return tuple(kinds)

    @property
    def needs_gold(self) -> bool:
        """Whether one of the rewards compares with gold calls."""
        return any(reward.needs_gold for reward in self.turn_rewards.values())

    def of_all(self, episodes: Sequence[Episode], watch: Watch = NO_WATCH) -> list[EpisodeRewards]:
        """The rewards of several episodes. With several processes the main one alone computes them, for all.

        Raises:
            UserError: as for a single one.
            Interrupted: ``watch`` halted it.
        """

        def rows() -> list[Any] | None:
            given, began = [], time.monotonic()
            for number, episode in enumerate(episodes):
                watch.tell(f"rewards: {number} of {len(episodes)}")
                # quick ones come to their end: what was sampled would have to be sampled again
                if watch.halts() and time.monotonic() - began > GLANCE_SECONDS:
                    return None
                try:
                    given.append(self(episode, watch).to_json())
                except Interrupted:
                    return None
            return given

        found = agreed(rows)
        if found is None:
            raise Interrupted
        return [EpisodeRewards.from_json(row) for row in found]

    def check(self, scored: Sequence[EpisodeRewards]) -> None:
        """Nothing, if there is something to learn from; all processes come here together.

        Raises:
            NothingLeftError: not one of the episodes was without fault.
        """
        if all(one.fault for one in scored):
            raise NothingLeftError(f"all {len(scored)} episodes failed, the first by {scored[0].fault}")

    def __call__(self, episode: Episode, watch: Watch = NO_WATCH) -> EpisodeRewards:
        """The rewards of an episode. What fails is tried again, and then becomes what ``faults.on_error`` says; to fail
        is also to take longer than ``faults.call_seconds``.

        Raises:
            UserError: a reward does not fit the configuration or the data.
            Interrupted: ``watch`` halted a function of the user's.
            Exception: a reward fails, and ``faults.on_error`` is ``raise``.
        """
        faults = [episode.fault] if episode.fault else []

        def timed(compute: Callable[[], Reward]) -> Callable[[], Reward]:
            return partial(self._calls, self.faults.call_seconds or math.inf, compute, watch)

        given = [
            [self._tried(name, timed(partial(reward, turn)), faults) for name, reward in self.turn_rewards.items()]
            for turn in episode.turns
        ]
        if episode.fault:
            given[-1] = [self._fault(episode.fault)] * len(given[-1])
        values = np.array([[one.value for one in turn] for turn in given], np.float64)
        columns = [self._held(values, self.weights[: values.shape[1]])]
        if self.length_penalty:
            columns.append(np.array([[-self.length_penalty(turn)] for turn in episode.turns]))
        if self.episode_reward is not None:
            whole = np.zeros((len(episode.turns), 1))
            compute = partial(_of_episode, self.episode_reward, episode)
            whole[-1] = self._tried("of the episode", timed(compute), faults).value
            columns.append(self._held(whole, (1.0,)))
        if self.nonnegative and not faults:
            self._check_nonnegative(episode, columns)
        return EpisodeRewards(
            np.concatenate(columns, axis=1, dtype=np.float32),
            tuple(map(tuple, given)),
            fault=faults[0] if faults else "",
            dropped=bool(faults) and self.faults.on_error == "drop",
        )

    def _held(self, values: np.ndarray, weights: Sequence[float]) -> np.ndarray:
        """Rewards [turns, R], made smaller where a turn's weighted sum is beyond the limit."""
        if self.reward_clip is None:
            return values
        total = np.abs(values @ np.array(weights))[:, None]
        scale = np.divide(self.reward_clip, total, out=np.ones_like(total), where=total > self.reward_clip)
        return values * scale

    def _tried(self, name: str, compute: Callable[[], Reward], faults: list[str]) -> Reward:
        """What ``compute`` gives, or what stands for it where it fails; ``faults`` is added to then."""
        try:
            return retried(compute, self.faults.retries)
        except Exception as error:
            if self.faults.on_error == "raise" or not is_fault(error):
                raise
            faults.append(f"reward {name}: {described(error)}")
        return self._fault(faults[-1])

    def _fault(self, fault: str) -> Reward:
        penalised = self.faults.on_error == "penalise" and not self.nonnegative
        value = self.faults.penalty if penalised else 0.0
        return Reward(value, "fault", fault)

    def _check_nonnegative(self, episode: Episode, columns: Sequence[np.ndarray]) -> None:
        least = min(float(column.min()) for column in columns)
        if least < 0:
            raise UserError(
                f"case {episode.case.id!r} earned {least:g}, but algorithm.estimator wants rewards of 0 and more; use "
                "reward=binary or a function of your own, and no missing_eos_penalty or overlong_buffer"
            )

    def total(self, scored: EpisodeRewards) -> float:
        """The weighted sum of what the turns were given, before clipping and penalties, and of the episode's reward."""
        count = len(self.turn_rewards)
        turns = sum(
            weight * sum(turn[i].value for turn in scored.turns) for i, weight in enumerate(self.weights[:count])
        )
        return turns + (float(scored.values[-1, -1]) if self.episode_reward else 0.0)


def make_rubric(config: RlConfig) -> Rubric:
    """The rewards that ``config`` names.

    Raises:
        UserError: no such profile or function, or a reward that reads what tools answer where none do.
    """
    if config.environment is None and any(reward.name == LIVE for reward in config.reward):
        raise UserError(f"reward {LIVE}: reads what tools answer; set environment, for instance environment=replay")
    penalty, whole = LengthPenalty.of(config), config.episode_reward
    extra = (penalty is not None) + (whole is not None)
    names = [reward.name for reward in config.reward]
    rewards = {
        reward.name if names.count(reward.name) == 1 else str(reward.plugin): resolve_reward(reward.plugin)
        for reward in config.reward
    }
    return Rubric(
        rewards,
        (*(reward.weight for reward in config.reward), *(1.0,) * extra),
        config.algorithm.reward_clip,
        penalty,
        _episode_reward(whole) if whole else None,
        config.faults,
        nonnegative=ESTIMATORS[config.algorithm.estimator].nonnegative,
    )


def resolve_reward(reward: str | Plugin) -> TurnReward:
    """The function that a configured reward is.

    It is ``live``, a profile of `tl_jax.tooluse.rewards.profiles` by name or as a YAML file, or the user's
    ``module:function`` of ``(prediction, case)`` and the options, which returns a number.

    Raises:
        UserError: no such profile or function, or options that it does not take. A turn raises it too if the profile
            compares with gold calls and there are none, and `FaultyResult` if a function gives no finite number.
    """
    plugin = Plugin.read(reward)
    if plugin.is_function:
        return TurnReward(_of_users(plugin))
    if plugin.name == LIVE:
        return TurnReward(bind(plugin, ("turn",), key="reward", function=live_reward))
    if plugin.options:
        raise UserError(f"reward.options: {plugin.name} takes no options, got {', '.join(plugin.options)}")
    return TurnReward(_of_profile(plugin.name), needs_gold=True)


def _of_profile(name: str) -> Callable[[Turn], Reward]:
    profile = profile_from(name)

    def reward(turn: Turn) -> Reward:
        try:
            return score(turn.text, turn.case, profile)
        except ValueError as error:
            raise UserError(f"reward {name}: {error}; use live or a function of your own") from None

    return reward


def _of_users(plugin: Plugin) -> Callable[[Turn], Reward]:
    function = bind(plugin, ("prediction", "case"), key="reward")

    def reward(turn: Turn) -> Reward:
        value = _number(function(turn.text, turn.case), turn.case.id)
        return Reward(value, "custom", f"{plugin.name}: {value:+g}")

    return reward


def _episode_reward(plugin: Plugin) -> Callable[[Episode], float]:
    named = EPISODE_REWARDS.get(plugin.name)
    function = bind(plugin, ("episode",), key="episode_reward", function=named.function if named else None)
    return lambda episode: _number(function(episode), episode.case.id)


def _of_episode(reward: Callable[[Episode], float], episode: Episode) -> Reward:
    return Reward(reward(episode), "episode", "")


def _number(result: Any, place: str) -> float:
    try:
        value = float(result)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise FaultyResult(f"gave {result!r} for case {place!r}; it must return a finite number")
    return value
