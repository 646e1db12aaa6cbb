"""What can be answered: prompts of known tokens that leave room for the answer in the model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tl_jax.errors import UserError
from tl_jax.model.config import LlamaConfig


class GenerationError(UserError):
    """Prompts or settings that cannot be generated from; the message names the prompt."""


@dataclass(frozen=True, slots=True)
class ContextRoom:
    """The tokens that a prompt may have.

    Example:
        >>> room = ContextRoom(max_position_embeddings=512, max_new_tokens=12)
        >>> room.tokens
        500
        >>> room.check("prompt 3", 501)
        Traceback (most recent call last):
            ...
        tl_jax.inference.room.GenerationError: prompt 3 has 501 tokens, but max_position_embeddings=512 of the model \
leaves room for 500 beside max_new_tokens=12; shorten it or lower max_new_tokens
    """

    max_position_embeddings: int
    """the model's context, prompt and answer together"""
    max_new_tokens: int
    """of the answer"""
    max_prompt_length: int | None = None
    """what the user allows"""

    @property
    def tokens(self) -> int:
        """How many there are, at least 0."""
        room = max(self.max_position_embeddings - self.max_new_tokens, 0)
        return room if self.max_prompt_length is None else min(self.max_prompt_length, room)

    def fits(self, tokens: int) -> bool:
        """Whether a prompt of so many tokens leaves room for the answer."""
        return tokens <= self.tokens

    def check(self, name: str, tokens: int) -> None:
        """Nothing, if a prompt of so many tokens fits.

        Args:
            name: what the message calls the prompt.
            tokens: its length.

        Raises:
            GenerationError: it does not.
        """
        if not self.fits(tokens):
            raise GenerationError(
                f"{name} has {tokens} tokens, but max_position_embeddings={self.max_position_embeddings} of the model "
                f"leaves room for {self.tokens} beside max_new_tokens={self.max_new_tokens}; shorten it or lower "
                "max_new_tokens"
            )


def check_prompts(model: LlamaConfig, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    """Nothing, if a model can answer all of them.

    Raises:
        GenerationError: no prompt, an empty one, an unknown token, or a prompt that leaves no room for the answer.
    """
    room, vocab = ContextRoom(model.max_position_embeddings, max_new_tokens), model.vocab_size
    if not prompts:
        raise GenerationError("no prompts")
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise GenerationError(f"prompt {index} has no tokens")
        room.check(f"prompt {index}", len(prompt))
        if not 0 <= min(prompt) <= max(prompt) < vocab:
            raise GenerationError(f"prompt {index} has a token id outside the model's vocabulary of {vocab}")
