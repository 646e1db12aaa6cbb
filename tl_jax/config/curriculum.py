"""Which prompts are answered again sooner."""

from __future__ import annotations

from pydantic import Field

from tl_jax.config.base import Node, Real


class CurriculumConfig(Node):
    """Prompts drawn by how much the rewards of their answers varied of late, see docs/rl.md"""

    share: Real = Field(0.0, ge=0, le=0.9, description="of a rollout's prompts; the others come in turn")
    memory: Real = Field(0.5, ge=0, lt=1, description="weight of a prompt's earlier variances against its latest")
