"""In place of a sampler: one that says given texts, so that what comes of them is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from tl_jax.inference.engine import SILENT, Generation, Listener
from tl_jax.inference.sampler import Sampler


class Unused:
    """In place of an engine, where a sampler speaks by itself."""

    def update(self, params: Any) -> None:
        pass

    def conversations(self) -> AbstractContextManager[None]:
        return nullcontext()

    def release(self) -> None:
        pass


@dataclass(frozen=True)
class Speaking(Sampler):
    """A sampler that answers prompts with texts of its own."""

    def said(self, prompts: Sequence[Sequence[int]], listener: Listener) -> Sequence[str]:
        """A text for each prompt."""
        raise NotImplementedError

    def tell(self, answers: Generation, listener: Listener) -> None:
        """What the listener hears before the end; nothing by default."""

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, EOS included."""
        return [*self.codec.tokenizer(text, add_special_tokens=False)["input_ids"], self.eos_ids[0]]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        key: jax.Array,
        listener: Listener = SILENT,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        rows = [self.ids(text) for text in self.said(prompts, listener)]
        width = self.sampling.max_new_tokens
        tokens = np.full((len(rows), width), self.eos_ids[0], np.int32)
        for row, ids in enumerate(rows):
            tokens[row, : len(ids)] = ids[:width]
        lengths = np.array([min(len(ids), width) for ids in rows])
        finished = np.array([len(ids) <= width for ids in rows])
        answers = Generation(tokens, np.full(tokens.shape, -0.5, np.float32), lengths, finished)
        self.tell(answers, listener)
        return answers


@dataclass(frozen=True)
class Scripted(Speaking):
    """Says given texts, turn by turn, and remembers what it was asked."""

    lines: Sequence[Sequence[str]] = ()
    """for each turn one text per episode that is still played"""
    asked: list[list[list[int]]] = field(default_factory=list)
    loose: bool = False
    """every character is a token of its own: another tokenisation than the tokenizer's"""

    def said(self, prompts: Sequence[Sequence[int]], listener: Listener) -> Sequence[str]:
        self.asked.append([list(prompt) for prompt in prompts])
        return self.lines[len(self.asked) - 1]

    def ids(self, text: str) -> list[int]:
        whole = super().ids
        return [*(id for piece in text for id in whole(piece)[:-1]), self.eos_ids[0]] if self.loose else whole(text)
