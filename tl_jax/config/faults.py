"""What becomes of episodes in which a function of the user's fails."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tl_jax.config.base import Node


class FaultsConfig(Node):
    """What becomes of an episode whose reward or environment fails, see docs/rl.md"""

    retries: int = Field(1, ge=0, description="how often what failed is tried again")
    on_error: Literal["drop", "penalise", "raise"] = Field(
        "drop", description="drop = another episode takes its place; penalise = what failed earns penalty"
    )
    penalty: float = -1.0
