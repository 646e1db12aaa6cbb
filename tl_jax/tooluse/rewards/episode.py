"""Rewards of whole episodes that have a name; any other is a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tl_jax.errors import UserError
from tl_jax.registry import Registry


class Judged(Protocol):
    """An episode of which its environment says something."""

    @property
    def outcome(self) -> Any: ...


def bfcl_state(episode: Judged, partial: bool = False) -> float:
    """1 if BFCL counts the episode as right, else 0.

    It is right if, after each turn of the user, the tools are in the state in which the gold calls leave them, and the
    results of the gold calls are among those that the model has seen.

    Args:
        partial: instead of 0, the share of the user's turns, from the first on, that were right.

    Raises:
        UserError: it was no episode of ``environment=bfcl``.

    Example:
        >>> from types import SimpleNamespace
        >>> half = SimpleNamespace(outcome={"turns": 4, "passed": 2, "fault": "state"})
        >>> bfcl_state(half), bfcl_state(half, partial=True)
        (0.0, 0.5)
    """
    outcome = episode.outcome
    if not isinstance(outcome, dict) or not {"turns", "passed"} <= outcome.keys():
        raise UserError("episode_reward bfcl_state: needs environment=bfcl, which judges episodes")
    share = float(outcome["passed"]) / outcome["turns"]
    return share if partial or share == 1.0 else 0.0


@dataclass(frozen=True, slots=True)
class NamedEpisodeReward:
    """A reward as ``episode_reward=`` names it.

    Attributes:
        function: takes the episode, and the options that users give it.
    """

    name: str
    description: str
    function: Callable[..., float]


EPISODE_REWARDS = Registry(
    "episode reward",
    (
        NamedEpisodeReward(
            "bfcl_state",
            "with `environment=bfcl`: 1 if BFCL counts the episode as right; `partial: true` gives the share of turns",
            bfcl_state,
        ),
    ),
    columns={
        "`episode_reward=`": lambda reward: f"`{reward.name}`",
        "what it is": lambda reward: reward.description,
    },
    also="module:function",
)
