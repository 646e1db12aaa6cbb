"""The pair that turns conversations into tokens and tokens into answers: a text format and a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.data.encoding import Encoded, encode
from tl_jax.data.segment_tokenizer import SegmentTokenizer, segment_tokenizer
from tl_jax.data.spm import load_sentencepiece
from tl_jax.data.supervision import Example, supervise
from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.render import Renderer, RenderError, make_renderer


@dataclass(frozen=True)
class Codec:
    """How conversations are written (``renderer``) and how the text becomes tokens (``tokenizer``).

    Training, evaluation and rollouts of one model share one codec, so that a prompt is token for token what precedes
    the answer in training.
    """

    renderer: Renderer
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def open(cls, renderer: str, tokenizer: PreTrainedTokenizerFast | str | Path) -> Codec:
        """The codec of a text format and a tokenizer.

        Args:
            renderer: one of `RENDERERS`; ``chat`` is the tokenizer's own template.
            tokenizer: one that is loaded, or where `load_tokenizer` finds it.

        Raises:
            UserError: no such format or tokenizer, or a tokenizer without the template that ``chat`` needs.
        """
        loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer

        def apply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, generation: bool) -> str:
            text: str = loaded.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=generation
            )
            return text

        return cls(make_renderer(renderer, apply if loaded.chat_template else None), loaded)

    @property
    def segments(self) -> SegmentTokenizer:
        """The tokenizer for parts of a text."""
        return segment_tokenizer(self.tokenizer)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: the format's own terminator, if it has one, and EOS."""
        stop = self.encode((), [Message("user", "."), Message("assistant", ".")]).turns[0].stop
        eos = self.tokenizer.eos_token_id
        return tuple(dict.fromkeys(int(token) for token in (stop, eos) if token is not None))

    def encode(self, tools: Sequence[Tool], messages: Sequence[Message], *, generation: bool = False) -> Encoded:
        """A whole conversation, to train on; with ``generation``, followed by the prompt for the model's next answer.

        Raises:
            UserError: the format cannot express the conversation, or the tokenizer cannot encode it exactly.
        """
        write = self.renderer.prompt if generation else self.renderer.render
        return encode(write(tools, messages), self.tokenizer)

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> list[int]:
        """Ids after which the model answers ``messages``: what precedes that answer in training, exactly."""
        ids: list[int] = self.encode(tools, messages, generation=True).ids.tolist()
        return ids

    def supervise(self, trajectory: Trajectory, pkt: PktConfig, encoded: Encoded | None = None) -> Example:
        """Tokens, labels and weights of ``trajectory``. A turn of weight 0 (what MAE sets) is context only.

        Args:
            trajectory: with its turns' weights.
            pkt: how key tokens are weighted.
            encoded: the trajectory as `encode` gives it, where that is at hand.

        Raises:
            UserError: as `encode`.
        """
        encoded = self.encode(trajectory.tools, trajectory.messages) if encoded is None else encoded
        return supervise(trajectory, encoded, self.tokenizer, self.renderer.name, pkt)

    def answer(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without the blank that opens an answer.

        Special tokens stay that say something, such as ``[TOOL_CALLS]``; BOS, EOS, padding and unknown ones do not.
        """
        kept = [token for token in ids if token not in self._silent]
        text = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text).removeprefix(" ")

    @cached_property
    def _silent(self) -> frozenset[int | None]:
        of = self.tokenizer
        return frozenset((of.bos_token_id, of.eos_token_id, of.pad_token_id, of.unk_token_id))

    @property
    def writer(self) -> AnswerWriter:
        """Writes calls as they come back from their tokens."""
        return AnswerWriter(self)


@dataclass(frozen=True)
class AnswerWriter:
    """Calls as a model that says them exactly would be heard: written, made tokens of, and these read."""

    codec: Codec

    @property
    def name(self) -> str:
        """That of the text format."""
        return self.codec.renderer.name

    def answer(self, calls: Sequence[Call]) -> str:
        """The text of the answer's tokens.

        Raises:
            UserError: the format cannot write the calls, or the tokenizer cannot encode them.
        """
        messages = [Message("user", "."), Message("assistant", "", tuple(calls))]
        try:
            encoded = self.codec.encode((), messages)
        except RenderError:  # a chat template that needs tools
            return self.codec.renderer.answer(calls)
        turn = encoded.turns[0]
        return self.codec.answer(encoded.ids[turn.start : turn.end].tolist())


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer in directory ``path`` (tokenizer.json), or the SentencePiece model there or in file ``path``.

    Raises:
        UserError: nothing there that can be read.
    """
    path = Path(path)
    if path.is_file():
        return load_sentencepiece(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: no such tokenizer; give a directory with tokenizer.json or a SentencePiece .model file"
        )
    if (path / "tokenizer.json").is_file():
        try:
            return PreTrainedTokenizerFast.from_pretrained(str(path))
        except Exception as error:  # the library raises whatever its JSON reader or Rust part meets
            raise UserError(f"{path / 'tokenizer.json'}: cannot be read: {' '.join(str(error).split())}") from error
    models = sorted(path.glob("*.model"))
    if len(models) != 1:
        raise UserError(f"{path}: holds neither tokenizer.json nor exactly one SentencePiece .model file")
    return load_sentencepiece(models[0])
