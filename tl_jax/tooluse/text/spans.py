"""What rendering a conversation gives: the text, and which characters of it belong to what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from tl_jax.errors import UserError
from tl_jax.tooluse.schema import Call, Message, Tool

Span: TypeAlias = tuple[int, int]
"""``[start, end)`` in characters of `Rendered.text`."""

Apply: TypeAlias = Callable[[list[dict[str, Any]], list[dict[str, Any]] | None, bool], str]
"""A chat template: ``apply(messages, tools, add_generation_prompt) -> text``, everything in OpenAI's JSON shapes."""


class RenderError(UserError):
    """A conversation that the format cannot express."""


@dataclass(frozen=True, slots=True)
class CallSpan:
    """Where the parts of one call stand. Argument values are spanned as written, quotes included."""

    name: Span
    arguments: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class TurnSpan:
    """Where one assistant message stands.

    ``answer`` is what the model has to write: from right after the generation prompt to the terminator. ``stop`` is
    that terminator where the text holds one (``<|im_end|>``); None means that the turn ends by EOS as a label only.
    """

    message: int
    answer: Span
    calls: tuple[CallSpan, ...]
    stop: Span | None

    def shifted(self, by: int) -> TurnSpan:
        """The same turn in a text that has ``by`` more characters before it."""

        def moved(span: Span) -> Span:
            return span[0] + by, span[1] + by

        calls = tuple(
            CallSpan(moved(call.name), {key: moved(span) for key, span in call.arguments.items()})
            for call in self.calls
        )
        return TurnSpan(self.message, moved(self.answer), calls, moved(self.stop) if self.stop else None)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text.

    ``messages[i]`` is what message ``i`` adds to the text, its header included; what precedes the first one (a tool
    list without a system message) belongs to none. ``untrusted`` are the parts that came from outside the format, in
    which special tokens must not be recognised; otherwise they are to be tokenised like any other text.
    ``closed_by_eos``: the format ends with EOS, whose id the encoder appends (the text has none).

    Attributes:
        lost: assistant messages that have no turn here, and why: the text before them is not the prompt that they
            answer, because the format rewrites the past.
        dropped: messages with calls whose text the format does not write beside them.
    """

    text: str
    messages: tuple[Span, ...]
    untrusted: tuple[Span, ...]
    turns: tuple[TurnSpan, ...]
    closed_by_eos: bool
    lost: Mapping[int, str] = field(default_factory=dict)
    dropped: tuple[int, ...] = ()


class Renderer(Protocol):
    """One way of writing conversations."""

    name: str

    def render(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        """The whole conversation, to train on."""

    def prompt(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        """The conversation and a generation prompt: the model's answer comes next."""

    def turn(self, tools: Sequence[Tool], messages: Sequence[Message]) -> Rendered:
        """The last message, an assistant's, as the answer to the prompt for it."""

    def answer(self, calls: Sequence[Call], content: str = "") -> str:
        """How one answer is written. A turn's answer span holds this (after one blank in the paper's template)."""
