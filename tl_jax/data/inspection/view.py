"""One trajectory as the model is trained on it, ready to be shown: what `inspect` finds out and the displays draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tl_jax.visible import visible

Kind = Literal["context", "blocked", "plain", "key", "stop"]

LEGEND: dict[Kind, str] = {
    "key": "key token: decides which tool",
    "plain": "target",
    "stop": "stop token: ends the answer",
    "blocked": "answer that is no target",
    "context": "context",
}


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token. All ``text`` together is the rendered text; ``mark`` names a token the text does not hold (EOS)."""

    text: str
    message: int
    kind: Kind
    weight: float = 0.0
    """The weight its prediction has in the loss: normalised, the turn's adding up to the turn's share."""
    raw: float = 0.0
    """The same before normalisation."""
    why: str = ""
    mark: str = ""

    @property
    def target(self) -> bool:
        return self.weight > 0

    @property
    def shown(self) -> str:
        """The token on its own: harmless, and with its blanks and line ends to be seen."""
        return visible(self.text or self.mark).replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


@dataclass(frozen=True, slots=True)
class TurnView:
    """What is to be said about one assistant message."""

    message: int
    tokens: int
    """Of the answer, stop token not included."""
    share: float
    """What its loss is multiplied by; 0 = no target."""
    calls: tuple[str, ...] = ()
    """Names of the tools it calls."""
    why: str = ""
    """Why the share is not 1."""
    keys: tuple[str, ...] = ()
    """The key tokens, as the tokenizer writes them."""
    key_weight: float = 1.0
    normaliser: float = 0.0
    """Sum of the weights, which all of them are divided by."""
    loss_on_keys: float = 0.0
    """The key tokens' part of the sum."""

    @property
    def target(self) -> bool:
        return self.share > 0

    @property
    def verdict(self) -> str:
        return "target" if self.share == 1 else f"target, loss x {self.share:g}" if self.target else "no target"

    @property
    def note(self) -> str:
        """All of it in one line."""
        if not self.target:
            return f"{self.verdict}: {self.why}"
        keys = f"key tokens {' '.join(self.keys)} weigh {self.key_weight:.4g}" if self.keys else "no key tokens"
        note = f"{self.verdict}: {self.tokens} tokens and stop, {keys}, weights divided by {self.normaliser:.6g}"
        return f"{note}; {self.why}" if self.why else note


@dataclass(frozen=True, slots=True)
class View:
    """One trajectory, token by token and turn by turn."""

    id: str
    settings: str
    roles: tuple[str, ...]
    """Of every message."""
    tokens: tuple[TokenView, ...]
    """Of one example after another, where every turn has one of its own."""
    turns: tuple[TurnView, ...]
    notes: tuple[str, ...] = ()
    """What the text format makes of it that nobody would expect."""

    @property
    def counts(self) -> str:
        targets = sum(token.target for token in self.tokens)
        trained = sum(turn.target for turn in self.turns)
        return (
            f"{len(self.tokens):,} tokens, {targets:,} of them targets; "
            f"{trained} of {len(self.turns)} turns are targets"
        )

    @property
    def summary(self) -> str:
        return f"trajectory {visible(self.id)}: {self.counts} ({visible(self.settings)})"

    def answers(self) -> list[tuple[TurnView, Sequence[TokenView]]]:
        """Every turn and the tokens of its answer, its stop token included."""
        answers: dict[int, list[TokenView]] = {turn.message: [] for turn in self.turns}
        for token in self.tokens:
            if token.kind != "context" and token.message in answers:
                answers[token.message].append(token)
        return [(turn, answers[turn.message]) for turn in self.turns]
