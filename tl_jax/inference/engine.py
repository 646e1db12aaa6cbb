"""What every engine does: prompts in, sampled tokens and their log-probabilities out, from weights that change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import Protocol

import jax
import numpy as np

from tl_jax.config import SamplingConfig
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Params


@dataclass(frozen=True)
class Generation:
    """What was generated for B prompts, N = ``max_new_tokens``."""

    tokens: np.ndarray
    """int32 [B, N]: EOS kept, ``pad_id`` after it"""
    logprobs: np.ndarray
    """float32 [B, N]: of each token under softmax(logits / temperature), before top-k and top-p; greedy: temperature 1;
    0 after the end"""
    lengths: np.ndarray
    """int32 [B]: tokens generated, EOS included"""
    finished: np.ndarray
    """bool [B]: ended by EOS and not by the limit"""
    drawn_logprobs: np.ndarray | None = None
    """float32 [B, N]: of each token in the distribution that it was drawn from, after top-k and top-p; None = as
    ``logprobs``, where nothing is filtered"""
    read: np.ndarray | None = None
    """int32 [B]: tokens that were read for each; 0 where another's reading served as well. None = nobody knows"""

    def of(self, rows: Sequence[int]) -> Generation:
        """Some of it, in this order."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen = np.asarray(rows, int)
        return replace(self, **{name: x[chosen] for name, x in columns.items() if x is not None})


@dataclass(frozen=True)
class Ends:
    """What ends an answer, and what follows the end."""

    eos_ids: tuple[int, ...] = ()
    """empty = nothing does but the limit"""
    pad_id: int = 0


@dataclass(frozen=True)
class Listener:
    """Who is told while answers are written."""

    before_batch: Callable[[], None] = lambda: None
    """called before prompts are begun; it may raise, to give the rest up"""
    ended: Callable[[Sequence[int], Generation], None] = lambda indices, answers: None
    """told of answers as they end: the indices of their prompts, and the answers in that order. The devices write on
    meanwhile. An engine need not tell of all of them, or of any: it gives them in the end."""


SILENT = Listener()


class Engine(Protocol):
    """Writes answers with the weights that it was given last."""

    @property
    def model(self) -> LlamaConfig:
        """Of the weights: its vocabulary and its context bound the prompts."""

    def update(self, params: Params) -> None:
        """Answers come from these parameters from now on. They stay as they are.

        Args:
            params: of a `Llama`, adapters included; placed on the mesh of training, if there is one.
        """

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        key: jax.Array,
        ends: Ends,
        listener: Listener = SILENT,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        """Continues every prompt until one of ``ends.eos_ids`` or ``max_new_tokens``.

        Args:
            prompts: token ids, of any lengths; the same on every process.
            sampling: how tokens are chosen, and how many prompts run at once.
            key: of the noise.
            ends: which tokens end a row, and what follows the end in the result.
            listener: is told meanwhile.
            numbers: of the prompts, below 2^31: what their noise depends on besides the key; by default their indices.
        """

    def conversations(self) -> AbstractContextManager[None]:
        """Meanwhile, prompts with a number that earlier ones had are later turns of the same conversations: an engine
        may keep what it has read and written of those, so that it need not read it again. Nothing else changes, and a
        conversation that is missing once is over.
        """

    def release(self) -> None:
        """Nothing is asked until the next `update`: the memory of the weights is free for others."""
