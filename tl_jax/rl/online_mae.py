"""MAE online: turns whose calls failed through no fault of the policy count less in its update, or not at all.

They stay in the context, and what they earned stays where it is: with a factor of 0 nothing is learnt about having made
those calls, as in supervised training. `tl_jax.tooluse.mae` has the rules. Rollouts without a usable call are left out
for the same reason by SimpleTIR (https://arxiv.org/abs/2509.02479).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tl_jax.config.data import MaeConfig
from tl_jax.rl.episodes import Episode, Turn
from tl_jax.tooluse.mae.apply import Blocked, blocking
from tl_jax.tooluse.mae.finding import Finder
from tl_jax.tooluse.mae.rules import finder
from tl_jax.tooluse.schema import Message


@dataclass(frozen=True)
class OnlineMae:
    """Which turns of an episode are blocked, and what that means."""

    find: Finder
    block: Blocked
    factor: float
    """what a blocked turn counts"""

    @classmethod
    def of(cls, config: MaeConfig) -> OnlineMae:
        """As a configuration says.

        Raises:
            UserError: unknown rule or pack.
        """
        return cls(finder(config.rule, config.packs), config.block, config.factor)

    def blocked(self, episode: Episode) -> np.ndarray:
        """bool [turns]: answered by an error of the kind that is looked for."""
        return np.array([self._blocks(turn) for turn in episode.turns])

    def weights(self, episodes: Sequence[Episode]) -> list[np.ndarray]:
        """float32 [turns] of each episode: `factor` where a turn is blocked, else 1."""
        return [np.where(self.blocked(episode), np.float32(self.factor), np.float32(1)) for episode in episodes]

    def _blocks(self, turn: Turn) -> bool:
        answers = [Message("tool", text, name=call.name) for call, text in zip(turn.calls, turn.results, strict=False)]
        return blocking(self.find.in_turn(turn.calls, answers, answers[0] if answers else None), self.block) is not None
