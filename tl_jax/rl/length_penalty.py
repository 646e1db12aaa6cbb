"""What an answer pays for its length."""

from __future__ import annotations

from dataclasses import dataclass

from tl_jax.config import RlConfig
from tl_jax.rl.episodes import Turn


@dataclass(frozen=True)
class LengthPenalty:
    """Taken from the reward of a turn: the more, the nearer it came to the limit of tokens.

    ``missing_eos`` where it was cut off, and the soft overlong punishment of DAPO (https://arxiv.org/abs/2503.14476,
    eq. 13): of ``length`` tokens, ``overlong * clip((length - (limit - buffer)) / buffer, 0, 1)``.
    """

    limit: int
    """tokens that an answer can have, EOS included"""
    missing_eos: float = 0.0
    overlong: float = 0.0
    """at the limit"""
    buffer: int = 1
    """tokens before the limit in which it rises from 0"""

    @classmethod
    def of(cls, config: RlConfig) -> LengthPenalty | None:
        """As a configuration says; None if nothing is taken."""
        algorithm, limit = config.algorithm, config.sampling.max_new_tokens
        if algorithm.missing_eos_penalty is None and algorithm.overlong_buffer is None:
            return None
        return cls(
            limit=limit,
            missing_eos=algorithm.missing_eos_penalty or 0.0,
            overlong=algorithm.overlong_penalty if algorithm.overlong_buffer else 0.0,
            buffer=algorithm.overlong_buffer or 1,
        )

    def __call__(self, turn: Turn) -> float:
        """0 or more.

        Example:
            >>> from tl_jax.tooluse.schema import Case
            >>> turn = Turn(Case("c", (), ()), "", True, 0, tuple(range(95)), (0.0,) * 95)
            >>> LengthPenalty(limit=100, overlong=2.0, buffer=20)(turn)
            1.5
        """
        inside = (len(turn.tokens) - (self.limit - self.buffer)) / self.buffer
        return self.overlong * min(max(inside, 0.0), 1.0) + (0.0 if turn.finished else self.missing_eos)
