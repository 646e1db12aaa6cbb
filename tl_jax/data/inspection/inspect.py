"""One trajectory as the model is trained on it: every token, whether it is a target, its weight and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.config import MaeConfig, PktConfig
from tl_jax.config.pkt import PKT_MODES
from tl_jax.data.codec import Codec
from tl_jax.data.encoding import Encoded
from tl_jax.data.examples import dropped_texts
from tl_jax.data.inspection.console import to_terminal
from tl_jax.data.inspection.html import to_html
from tl_jax.data.inspection.view import LEGEND, Kind, TokenView, TurnView, View
from tl_jax.data.segment_tokenizer import segment_tokenizer
from tl_jax.data.supervision import Example, TurnTargets
from tl_jax.tooluse.mae.apply import Block, apply_mae
from tl_jax.tooluse.schema import Trajectory
from tl_jax.tooluse.text.spoken import Include, is_silent, spoken
from tl_jax.visible import visible

__all__ = ["inspect_trajectory", "to_html", "to_terminal"]


def inspect_trajectory(
    trajectory: Trajectory,
    codec: Codec,
    mae: MaeConfig = MaeConfig(),  # noqa: B008 (frozen)
    pkt: PktConfig = PktConfig(),  # noqa: B008
    include: Collection[Include] = (),
) -> View:
    """Encodes and supervises ``trajectory`` exactly as for training and explains the outcome.

    Raises:
        UserError: the format cannot express the trajectory, or the tokenizer cannot encode it exactly.
    """
    marked, blocks = apply_mae(trajectory, **mae.model_dump())
    marked = spoken(marked, include)
    passes = codec.passes(marked)
    whole = passes[0][0] is marked
    reasons = _reasons(marked, blocks)
    tokens: list[TokenView] = []
    turns = [] if whole else list(_untrained(marked, reasons))
    for part, encoded in passes:
        example = codec.supervise(part, pkt, encoded)
        shown = tuple(_turns(part, encoded, example, reasons, codec.tokenizer))
        turns += shown if whole else [turn for turn in shown if turn.message == len(part.messages) - 1]
        context = _context(encoded, shown if whole else (), codec.tokenizer)
        tokens += _mark_targets(context, encoded, example, codec.tokenizer)
    roles = tuple(f"{message.role} {message.name or ''}".strip() for message in marked.messages)
    settings = _settings(codec.renderer.name, mae, pkt)
    by_message = sorted(turns, key=lambda turn: turn.message)
    return View(trajectory.id, settings, roles, tuple(tokens), tuple(by_message), tuple(_notes(marked, passes)))


def _notes(trajectory: Trajectory, passes: Sequence[tuple[Trajectory, Encoded]]) -> Iterator[str]:
    """What the text format makes of the trajectory that nobody would expect."""
    if passes[0][0] is not trajectory:
        yield (
            f"The chat template rewrites the past: {len(passes)} examples, one for each target, each after its own "
            "prompt, are shown one after another."
        )
    for index in dropped_texts(passes, trajectory):
        said = trajectory.messages[index].content.strip()
        yield f"The chat template does not write the text of message {index}, or a part of it: {said[:80]!r}"


def _untrained(marked: Trajectory, reasons: dict[int, str]) -> Iterator[TurnView]:
    """The turns that are no targets, of a trajectory of which only targets are shown."""
    for index, message in marked.turns:
        if message.weight == 0:
            yield TurnView(index, 0, 0.0, tuple(call.name for call in message.tool_calls), reasons.get(index, ""))


def _settings(renderer: str, mae: MaeConfig, pkt: PktConfig) -> str:
    whose = {"all": "every error"}.get(mae.block, f"the {mae.block}'s errors")
    blocked = "" if mae.rule.name == "none" else f" ({whose} x {mae.factor:g})"
    limit = "" if not PKT_MODES[pkt.mode].limited else f" (weights up to {pkt.max_weight:g})"
    return f"Format {renderer}, MAE {mae.rule}{blocked}, PKT {pkt.mode}{limit}"


def _reasons(marked: Trajectory, blocks: list[Block]) -> dict[int, str]:
    """Why a turn's loss is not counted in full."""
    reasons = {
        index: "has neither text nor calls" if is_silent(message) else f"weight {message.weight:g} in the data"
        for index, message in marked.turns
        if message.weight is not None and message.weight != 1
    }
    for block in blocks:
        finding = block.finding
        how = "down-weighted" if marked.messages[block.message].weight else "blocked"
        why = f"{how}, {finding.category.value} (detector {finding.rule}): {finding.evidence}"
        reasons[block.message] = visible(" ".join(why.split()))
    return reasons


def _turns(
    marked: Trajectory, encoded: Encoded, example: Example, reasons: dict[int, str], tokenizer: PreTrainedTokenizerFast
) -> Iterator[TurnView]:
    targets = {found.message: found for found in example.targets}
    for turn in encoded.turns:
        message = marked.messages[turn.message]
        share, calls = 1.0 if message.weight is None else message.weight, tuple(c.name for c in message.tool_calls)
        view = TurnView(turn.message, turn.end - turn.start, share, calls, reasons.get(turn.message, ""))
        if found := targets.get(turn.message):
            ids = [int(label) for label in example.labels[found.span]]
            view = _with_weights(view, found, [visible(piece) for piece in tokenizer.convert_ids_to_tokens(ids)])
        yield view


def _with_weights(view: TurnView, found: TurnTargets, pieces: list[str]) -> TurnView:
    keys = list(found.keys)
    return replace(
        view,
        keys=tuple(pieces[key] for key in keys),
        key_weight=float(found.raw[keys[0]]) if keys else 1.0,
        normaliser=found.normaliser,
        loss_on_keys=float(found.raw[keys].sum()) / found.normaliser,
    )


def _context(encoded: Encoded, turns: tuple[TurnView, ...], tokenizer: PreTrainedTokenizerFast) -> list[TokenView]:
    """Every token of the stream as if none were a target; those of answers that are none are marked."""
    blocked = {turn.message: turn.why for turn in turns if not turn.target}
    answers = {
        i: blocked[turn.message]
        for turn in encoded.turns
        if turn.message in blocked
        for i in range(turn.start, turn.end)
    }
    views, shown = [], 0
    for index, (start, end) in enumerate(encoded.offsets.tolist()):
        mark = tokenizer.convert_ids_to_tokens(int(encoded.ids[index])) if start == end else ""
        own, shown = encoded.text[shown : max(end, shown)], max(shown, end)
        kind: Kind = "blocked" if index in answers else "context"
        views.append(TokenView(own, int(encoded.message[index]), kind, why=answers.get(index, ""), mark=mark))
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
            kind: Kind = "key" if number in found.keys else "stop" if number == last else "plain"
            place = found.predict_from + number
            fork = number == last and turn.stop is None
            view = TokenView("", found.message, kind, mark=_eos(tokenizer)) if fork else views[place + 1]
            weight, raw = float(example.weights[place]), float(found.raw[number])
            view = replace(view, kind=kind, weight=weight, raw=raw, why=LEGEND[kind], message=found.message)
            if fork:
                forks[turn.end] = view
            else:
                views[place + 1] = view
    return [view for i in range(len(views) + 1) for view in ([forks[i]] if i in forks else []) + views[i : i + 1]]


def _eos(tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.convert_ids_to_tokens(segment_tokenizer(tokenizer).eos))
