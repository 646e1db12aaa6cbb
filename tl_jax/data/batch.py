"""The one shape in which text reaches the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # chex tells type checkers nothing about the classes it makes
    from dataclasses import dataclass
else:
    from chex import dataclass

Array: TypeAlias = Any
"""NumPy on the host, `jax.Array` on the device."""


@dataclass(frozen=True)
class Batch:
    """Rows of tokens with their targets. ``B`` rows of ``T`` tokens, several trajectories to a row when packed.

    Everything particular to tool use is already in ``labels`` and ``weights``; the loss of a batch is
    ``sum(weights * cross_entropy) / sum(turns)``.
    """

    tokens: Array
    """int32 [B, T]: the stream."""
    labels: Array
    """int32 [B, T]: what position t predicts (already shifted; EOS where a turn ends). Read only where weights > 0."""
    weights: Array
    """float32 [B, T]: 0 = no target. The weights of one turn add up to the turn's own weight (1 unless scaled)."""
    segment_ids: Array
    """int32 [B, T]: 0 = padding, 1, 2, ... = trajectory in the row. Attention stays within a segment."""
    positions: Array
    """int32 [B, T]: position within the trajectory, for RoPE."""
    turns: Array
    """float32 [B]: sum of turn weights in the row, the denominator of the loss."""
    branches: Array | None = None
    """int32 [B, T]: where trajectories share a segment's beginning, which of them, from 1; 0 = all, or the only one.
    None = nothing is shared."""

    @property
    def inputs(self) -> tuple[Array, Array, Array, Array | None]:
        """What `Llama.hidden` takes."""
        return self.tokens, self.positions, self.segment_ids, self.branches
