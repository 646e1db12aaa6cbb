"""One trajectory as the model is trained on it: every token, whether it is a target, its weight and why."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.text import Text
from transformers import PreTrainedTokenizerFast

from tl_jax.config import MaeConfig, PktConfig
from tl_jax.data.encode import Encoded, encode, end_of_sequence, load_tokenizer, renderer_for
from tl_jax.data.page import page
from tl_jax.data.supervision import Example, TurnTargets, supervise_encoded
from tl_jax.tooluse.feedback import Block, apply_mae
from tl_jax.tooluse.schema import Trajectory

Kind = Literal["context", "blocked", "plain", "key", "stop"]


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token. All ``text`` together is the rendered text; ``mark`` names a token the text does not hold (EOS)."""

    text: str
    message: int
    kind: Kind
    weight: float = 0.0
    """The weight its prediction has in the loss: normalised, the turn's adding up to the turn's weight."""
    raw: float = 0.0
    """The same before normalisation."""
    why: str = ""
    mark: str = ""

    @property
    def target(self) -> bool:
        return self.weight > 0


@dataclass(frozen=True, slots=True)
class TurnView:
    """What is to be said about one assistant message."""

    message: int
    target: bool
    note: str


@dataclass(frozen=True, slots=True)
class View:
    """One trajectory, token by token and turn by turn."""

    id: str
    settings: str
    tokens: tuple[TokenView, ...]
    turns: tuple[TurnView, ...]

    @property
    def summary(self) -> str:
        targets = sum(token.target for token in self.tokens)
        trained = sum(turn.target for turn in self.turns)
        return (
            f"trajectory {self.id}: {len(self.tokens)} tokens, {targets} of them targets; "
            f"{trained} of {len(self.turns)} turns are targets ({self.settings})"
        )


def inspect_trajectory(
    trajectory: Trajectory,
    tokenizer: Path | PreTrainedTokenizerFast,
    renderer: str = "paper",
    mae: MaeConfig = MaeConfig(),  # noqa: B008 (frozen)
    pkt: PktConfig = PktConfig(),  # noqa: B008
) -> View:
    """Encodes and supervises ``trajectory`` exactly as for training and explains the outcome.

    Raises:
        UserError: the format cannot express the trajectory, or the tokenizer cannot encode it exactly.
    """
    tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, Path) else tokenizer
    writer = renderer_for(renderer, tokenizer)
    marked, blocks = apply_mae(trajectory, **mae.model_dump())
    rendered = writer.render(marked.tools, marked.messages)
    encoded = encode(rendered, tokenizer)
    example = supervise_encoded(marked, encoded, writer, tokenizer, pkt)
    notes = _untrained(marked, blocks)
    tokens = _mark_targets(_context(rendered.text, encoded, notes, tokenizer), encoded, example, tokenizer)
    turns = tuple(_turn_views(encoded, example, notes, tokenizer))
    return View(trajectory.id, f"format {renderer}, mae {mae.rule}, pkt {pkt.mode}", tuple(tokens), turns)


def to_terminal(view: View, console: Console | None = None, context: int = 600) -> None:
    """Prints ``view`` in colour; of a longer stretch that is no target only ``context`` characters are shown."""
    console = console or Console(highlight=False)
    console.print(Text(view.summary, style="bold"))
    console.print(
        Text.assemble("legend: ", *(part for kind, style in _STYLES.items() for part in ((kind, style), "  ")))
    )
    turns = {turn.message: turn for turn in view.turns}
    line = Text()
    for (message, kind), group in groupby(view.tokens, lambda token: (token.message, _stretch(token))):
        if kind != "context" and message in turns:
            console.print(line)
            line = Text()
            turn = turns.pop(message)
            console.print(Text(f"── message {turn.message}: {turn.note}", style="cyan" if turn.target else "red"))
        for text, style in _runs(group):
            line.append(_shortened(text, context) if kind == "context" else text, style)
    console.print(line)


def to_html(view: View) -> str:
    """``view`` as one HTML page that needs no other file and no network."""
    tokens = [replace(token, text=visible(token.text or token.mark)) for token in view.tokens]
    return page(visible(view.summary), tokens, {turn.message: (turn.target, turn.note) for turn in view.turns})


def visible(text: str) -> str:
    """``text`` with every character that could change how the rest is shown (escape codes, bidi marks) spelt out."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _UNSEEN else f"\\u{{{ord(c):x}}}" for c in text)


_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_STYLES: dict[Kind, str] = {
    "context": "dim", "blocked": "red strike", "plain": "black on pale_green1", "key": "bold black on orange1",
    "stop": "black on sky_blue1",
}  # fmt: skip


def _context(text: str, encoded: Encoded, notes: dict[int, str], tokenizer: PreTrainedTokenizerFast) -> list[TokenView]:
    """Every token of the stream as if none were a target; those of untrained answers are marked."""
    answers = {i: turn.message for turn in encoded.turns for i in range(turn.start, turn.end)}
    views, shown = [], 0
    for index, (start, end) in enumerate(encoded.offsets.tolist()):
        note = notes.get(answers.get(index, -1), "")
        mark = tokenizer.convert_ids_to_tokens(int(encoded.ids[index])) if start == end else ""
        own, shown = text[shown : max(end, shown)], max(shown, end)
        kind: Kind = "blocked" if note else "context"
        views.append(TokenView(own, int(encoded.message[index]), kind, why=note, mark=mark))
    return views


def _mark_targets(
    views: list[TokenView], encoded: Encoded, example: Example, tokenizer: PreTrainedTokenizerFast
) -> list[TokenView]:
    """Gives answers their weights. A stop token that only the labels have is put in where it is predicted."""
    turns = {turn.message: turn for turn in encoded.turns}
    forks: dict[int, TokenView] = {}
    for found in example.targets:
        turn, last = turns[found.message], len(found.raw) - 1
        for number in np.flatnonzero(found.raw).tolist():
            kind: Kind = "stop" if number == last else "key" if number in found.keys else "plain"
            place = found.start + number
            fork = kind == "stop" and turn.stop is None
            view = TokenView("", found.message, kind, mark=_eos(tokenizer)) if fork else views[place + 1]
            weight, raw = float(example.weights[place]), float(found.raw[number])
            view = replace(view, kind=kind, weight=weight, raw=raw, why=_REASONS[kind], message=found.message)
            if fork:
                forks[turn.end] = view
            else:
                views[place + 1] = view
    return [view for i in range(len(views) + 1) for view in ([forks[i]] if i in forks else []) + views[i : i + 1]]


_REASONS: dict[Kind, str] = {
    "plain": "answer", "key": "key token: decides which tool is called",
    "stop": "stop token: where the answer ends",
}  # fmt: skip


def _eos(tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.convert_ids_to_tokens(end_of_sequence(tokenizer)))


def _untrained(marked: Trajectory, blocks: list[Block]) -> dict[int, str]:
    """Why each turn that is no target is none."""
    notes = {index: "weight 0 in the data" for index, message in marked.turns if message.weight == 0}
    for block in blocks:
        if marked.messages[block.message].weight:
            continue  # trained with less weight
        finding = block.finding
        note = f"blocked, {finding.category.value} (detector {finding.rule}): {finding.evidence}"
        notes[block.message] = visible(note)
    return notes


def _turn_views(
    encoded: Encoded, example: Example, notes: dict[int, str], tokenizer: PreTrainedTokenizerFast
) -> Iterator[TurnView]:
    targets = {found.message: found for found in example.targets}
    for turn in encoded.turns:
        if turn.message in targets:
            ids = encoded.ids[turn.start : turn.end].tolist()
            yield TurnView(
                turn.message, True, _target_note(targets[turn.message], tokenizer.convert_ids_to_tokens(ids))
            )
        else:
            yield TurnView(turn.message, False, notes[turn.message])


def _target_note(found: TurnTargets, pieces: list[str]) -> str:
    size = f"target, {len(pieces)} tokens and stop, weights divided by {found.normaliser:g}"
    if not found.keys:
        return f"{size}, no key tokens"
    keys = ", ".join(visible(pieces[key]) for key in found.keys if key < len(pieces))
    return f"{size}, key tokens {keys} weigh {found.raw[found.keys[0]]:.4g}"


def _stretch(token: TokenView) -> Literal["context", "turn"]:
    return "context" if token.kind == "context" else "turn"


def _runs(tokens: Iterator[TokenView]) -> Iterator[tuple[str, str]]:
    """Text and style of neighbouring tokens of one kind."""
    for kind, group in groupby(tokens, lambda token: token.kind):
        yield "".join(visible(token.text or token.mark) for token in group), _STYLES[kind]


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]} [... {len(text) - limit} characters ...] {text[-limit // 2 :]}"
