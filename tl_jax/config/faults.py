"""What becomes of episodes in which a function of the user's fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tl_jax.config.base import Node, Real, Whole


class FaultsConfig(Node):
    """What becomes of an episode whose reward or environment fails, see docs/rl.md"""

    retries: Whole = Field(1, ge=0, description="how often what failed is tried again")
    on_error: Literal["drop", "penalise", "raise"] = Field(
        "drop", description="drop = another episode takes its place; penalise = what failed earns penalty"
    )
    penalty: Real = -1.0
    call_seconds: Real | None = Field(
        60.0,
        gt=0,
        description="how long an environment may take to begin or to answer a call, and a reward; null = no limit",
    )
    episode_seconds: Real | None = Field(600.0, gt=0, description="how long in all of an episode; null = no limit")


UNGUARDED = FaultsConfig(retries=0, on_error="raise", call_seconds=None, episode_seconds=None)
"""Nothing is tolerated."""
