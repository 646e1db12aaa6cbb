"""From prompts to answers as text: what evaluation, rollouts and generation on the command line share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from tl_jax.config import SamplingConfig
from tl_jax.data.codec import Codec
from tl_jax.inference.engine import SILENT, Ends, Engine, Generation, Listener
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Params


@dataclass(frozen=True)
class Sampler:
    """A model's way to answer: what writes, how it samples, where it stops and how its tokens become text."""

    engine: Engine
    codec: Codec
    sampling: SamplingConfig
    eos_ids: tuple[int, ...]
    """tokens that end an answer, see `answer_stops`"""

    @contextmanager
    def serving(self, params: Params) -> Iterator[None]:
        """Answers meanwhile come from these parameters; before and after, the engine holds no memory for them."""
        self.engine.update(params)
        try:
            yield
        finally:
            self.engine.release()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        key: jax.Array,
        listener: Listener = SILENT,
        numbers: Sequence[int] | None = None,
    ) -> Generation:
        """Answers as tokens; the same ``key`` gives the same answers. ``listener`` and ``numbers`` are as for
        `Engine.generate`.

        Raises:
            UserError: a prompt has tokens that the model has no embedding for.
        """
        self.codec.check_ids(prompts, self.engine.model.vocab_size, "the model")
        ends = Ends(self.eos_ids, pad_id=self.eos_ids[0])
        return self.engine.generate(prompts, self.sampling, key, ends, listener, numbers)

    def texts(self, generation: Generation) -> list[str]:
        """The answers without the token that ended them and the space that opens an answer."""
        answers = []
        for tokens, length, finished in zip(generation.tokens, generation.lengths, generation.finished, strict=True):
            answers.append(self.codec.answer(tokens[: length - int(finished)].tolist()))
        return answers


def answer_stops(codec: Codec, model: LlamaConfig) -> tuple[int, ...]:
    """Every token that ends an answer: the format's terminator, EOS, and what the model's configuration names."""
    return tuple(dict.fromkeys((*codec.stop_ids, *model.eos_ids)))
