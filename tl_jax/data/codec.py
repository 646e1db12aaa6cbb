"""The pair that turns conversations into tokens and tokens into answers: a text format and a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.data.encoding import Encoded, encode
from tl_jax.data.segment_tokenizer import SegmentTokenizer, segment_tokenizer
from tl_jax.data.supervision import Example, supervise
from tl_jax.data.tokenizer_file import load_tokenizer
from tl_jax.errors import UserError
from tl_jax.registry import suggestion
from tl_jax.tooluse.schema import Call, Message, Tool, Trajectory
from tl_jax.tooluse.text.chat_template import ChatTemplateRenderer
from tl_jax.tooluse.text.render import RENDERERS, Apply, Renderer, RenderError, make_renderer
from tl_jax.tooluse.text.template_choice import NO_CHOICE, TemplateChoice
from tl_jax.tooluse.text.template_facts import stand_in
from tl_jax.tooluse.text.template_probe import hides_calls


@dataclass(frozen=True)
class Codec:
    """How conversations are written (``renderer``) and how the text becomes tokens (``tokenizer``).

    Training, evaluation and rollouts of one model share one codec, so that a prompt is token for token what precedes
    the answer in training.
    """

    renderer: Renderer
    tokenizer: PreTrainedTokenizerFast
    choice: TemplateChoice = field(default=NO_CHOICE, compare=False)
    """Which chat template the renderer writes with, and what it tells it; nothing where it uses none."""

    @classmethod
    def open(
        cls, renderer: str, tokenizer: PreTrainedTokenizerFast | str | Path, choice: TemplateChoice = NO_CHOICE
    ) -> Codec:
        """The codec of a text format and a tokenizer.

        Args:
            renderer: one of `RENDERERS`; ``chat`` is the tokenizer's own template.
            tokenizer: one that is loaded, or where `load_tokenizer` finds it.
            choice: which chat template, and what it is told; over what stands beside the tokenizer.

        Raises:
            UserError: no such format or tokenizer, a tokenizer without the template that ``chat`` needs, one whose
                calls are not read back, or a choice for a format without template.
        """
        templated = RENDERERS.find(renderer).templated
        if choice and not templated:
            raise UserError(f"a chat template is chosen or told something, but the format {renderer!r} uses none")
        loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
        if isinstance(tokenizer, str | Path):
            choice = choice.over(TemplateChoice.beside(Path(tokenizer)))
        return cls(make_renderer(renderer, _template(loaded, choice)), loaded, choice if templated else NO_CHOICE)

    @property
    def segments(self) -> SegmentTokenizer:
        """The tokenizer for parts of a text."""
        return segment_tokenizer(self.tokenizer)

    def check_ids(self, texts: Iterable[Sequence[int] | np.ndarray], vocab_size: int, model: str) -> None:
        """Every token of ``texts`` has an embedding. A device would read any other one's somewhere, or as NaN.

        Args:
            vocab_size: how many tokens the model knows.
            model: what errors call it.

        Raises:
            UserError: naming the token, the tokenizer and the model.
        """
        most = max((int(max(ids)) for ids in texts if len(ids)), default=0)
        if most >= vocab_size:
            raise UserError(
                f"{self.tokenizer.name_or_path}: the token {self.tokenizer.convert_ids_to_tokens(most)!r} has the id "
                f"{most}, and {model} has embeddings for {vocab_size} tokens only (vocab_size in config.json); use the "
                "tokenizer that the model was trained with"
            )

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: the format's own terminators, if it has any, and EOS."""
        tool, said = (Tool("f"),), Message("assistant", ".")
        called = Message("assistant", "", (Call("f", {"a": 1}),))
        stops = [self._stop((), said), self._stop(tool, said), self._stop(tool, called), self.tokenizer.eos_token_id]
        return tuple(dict.fromkeys(int(token) for token in stops if token is not None))

    @cached_property
    def hides_calls(self) -> bool:
        """Whether a call after a text is not found again in an answer."""
        return hides_calls(self.renderer)

    def _stop(self, tools: Sequence[Tool], answer: Message) -> int | None:
        """The format's own terminator, which may be another one where there are tools, or after calls."""
        try:
            return self.encode_turn(tools, [Message("user", "."), answer]).turns[-1].stop
        except RenderError:  # a template that needs tools, or has no place for them
            return None

    def encode(self, tools: Sequence[Tool], messages: Sequence[Message], *, generation: bool = False) -> Encoded:
        """A whole conversation, to train on; with ``generation``, followed by the prompt for the model's next answer.

        Raises:
            UserError: the format cannot express the conversation, or the tokenizer cannot encode it exactly.
        """
        write = self.renderer.prompt if generation else self.renderer.render
        return encode(write(tools, messages), self.tokenizer)

    def encode_turn(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Encoded:
        """The prompt for the last message, and that message as the answer to it, to train on.

        Raises:
            UserError: as `encode`.
        """
        return encode(self.renderer.turn(tools, messages), self.tokenizer)

    def passes(self, trajectory: Trajectory) -> list[tuple[Trajectory, Encoded]]:
        """What is trained on in one pass each: the whole trajectory, if that is possible.

        Where the format rewrites what precedes a target, no text has every target after its own prompt. Then each of
        them is a trajectory of its own that ends with it, and in which it is the only target.

        Raises:
            UserError: as `encode`.
        """
        encoded = self.encode(trajectory.tools, trajectory.messages)
        targets = [index for index, message in trajectory.turns if message.weight != 0]
        if encoded.lost.keys().isdisjoint(targets):
            return [(trajectory, encoded)]
        single = [_only(trajectory, index) for index in targets]
        return [(one, self.encode_turn(one.tools, one.messages)) for one in single]

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> list[int]:
        """Ids after which the model answers ``messages``: what precedes that answer in training, exactly."""
        ids: list[int] = self.encode(tools, messages, generation=True).ids.tolist()
        return ids

    def supervise(self, trajectory: Trajectory, pkt: PktConfig, encoded: Encoded | None = None) -> Example:
        """Tokens, labels and weights of ``trajectory``. A turn of weight 0 (what MAE sets) is context only.

        Args:
            trajectory: with its turns' weights.
            pkt: how key tokens are weighted.
            encoded: the trajectory as `encode` or `passes` gives it, where that is at hand.

        Raises:
            UserError: as `encode`; or it takes several passes.
        """
        if encoded is None:
            passes = self.passes(trajectory)
            if len(passes) != 1:
                raise RenderError(
                    f"trajectory {trajectory.id!r}: the chat template rewrites the past: see Codec.passes"
                )
            trajectory, encoded = passes[0]
        return supervise(trajectory, encoded, self.tokenizer, self.renderer.name, pkt)

    def answer(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without the blank that opens an answer.

        Args:
            ids: without the token that ended the answer. Every other one is part of what was said, special ones too:
                a reward has to see what is learnt.
        """
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text).removeprefix(" ")

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
        templated = isinstance(self.codec.renderer, ChatTemplateRenderer)  # which may write calls as its tools have it
        try:
            encoded = self.codec.encode_turn([stand_in(call) for call in calls] if templated else (), messages)
        except RenderError:  # a chat template that has no place for tools
            encoded = self.codec.encode_turn((), messages)
        turn = encoded.turns[-1]
        return self.codec.answer(encoded.ids[turn.start : turn.end].tolist())


def _template(tokenizer: PreTrainedTokenizerFast, choice: TemplateChoice) -> Apply | None:
    """The tokenizer's chat template; None if it has none.

    Raises:
        UserError: it has none of that name.
    """
    templates = tokenizer.chat_template
    if not templates:
        return None
    names = sorted(templates) if isinstance(templates, dict) else ["default"]
    if choice.name is not None and choice.name not in names:
        raise UserError(
            f"chat_template: the tokenizer has no chat template {choice.name!r}; {suggestion(choice.name, names)}"
        )
    name = choice.name if isinstance(templates, dict) else None

    def apply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, generation: bool) -> str:
        text: str = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            chat_template=name,
            tokenize=False,
            add_generation_prompt=generation,
            **choice.kwargs,
        )
        return text

    return apply


def _only(trajectory: Trajectory, index: int) -> Trajectory:
    """The trajectory up to message ``index``, its only target."""
    context = (
        replace(message, weight=0.0) if message.role == "assistant" else message
        for message in trajectory.messages[:index]
    )
    return replace(trajectory, messages=(*context, trajectory.messages[index]))
