"""Which tokens are targets and how much each counts: labels and weights of one trajectory.

One pass serves all turns. The tokens of the sample that ends with a turn are a prefix of the trajectory's stream; only
the label of the answer's last token differs (the stop token there, the template's newline in the stream). So that label
is set to the stop token, and every turn's weights are divided by their own sum: the loss of a turn is
``sum(w * ce) / sum(w)``, the loss of a batch ``sum(weights * ce) / turns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.data import pkt_reference as released
from tl_jax.data.encoding import Encoded, EncodedCall, EncodedTurn, end_of_sequence
from tl_jax.data.segment_tokenizer import EncodeError, segment_tokenizer
from tl_jax.tooluse.prefixes import common_prefix
from tl_jax.tooluse.schema import Message, Tool, Trajectory


@dataclass(frozen=True, slots=True)
class TurnTargets:
    """The targets of one turn: the answer's tokens and the stop token, predicted at ``[start, start + len(raw))``."""

    message: int
    start: int
    raw: np.ndarray
    """float64 [n + 1]: weights of the answer's n tokens and of the stop token before normalisation."""
    normaliser: float
    """What ``raw`` is divided by."""
    keys: tuple[int, ...]
    """Key tokens, counted from the answer's first."""


@dataclass(frozen=True, slots=True)
class Example:
    """A trajectory on its way into a row. Position ``t`` predicts ``labels[t]``; weight 0 = no target."""

    id: str
    tokens: np.ndarray
    """int32 [T]"""
    labels: np.ndarray
    """int32 [T]: read only where ``weights`` is not 0."""
    weights: np.ndarray
    """float32 [T]"""
    turns: float
    """Sum of the turns' weights: the example's share of the loss's denominator."""
    targets: tuple[TurnTargets, ...] = ()
    """How the weights came about; left out where only the arrays matter."""

    def trimmed(self) -> Example:
        """Without the tokens after the last target, which nothing looks at."""
        end = self.targets[-1].start + len(self.targets[-1].raw) if self.targets else 0
        return Example(self.id, self.tokens[:end], self.labels[:end], self.weights[:end], self.turns, self.targets)


def supervise(
    trajectory: Trajectory, encoded: Encoded, tokenizer: PreTrainedTokenizerFast, format_name: str, pkt: PktConfig
) -> Example:
    """Tokens, labels and weights of ``trajectory``, which is ``encoded`` in the format called ``format_name``.

    A turn of weight 0 (what MAE sets) is context only.

    Raises:
        EncodeError: an answer that nothing precedes, or a tokenizer without the EOS that is to be learnt.
    """
    labels = np.zeros_like(encoded.ids)
    weights = np.zeros(len(encoded.ids), np.float32)
    targets, total, earlier = [], 0.0, 0
    for turn in encoded.turns:
        if turn.start <= earlier:
            raise EncodeError(f"trajectory {trajectory.id!r}: nothing precedes the answer of message {turn.message}")
        earlier = turn.end
        message = trajectory.messages[turn.message]
        share = 1.0 if message.weight is None else message.weight
        if not share:
            continue
        found = turn_targets(encoded, turn, message, trajectory.tools, tokenizer, pkt, format_name)
        span = slice(turn.start - 1, turn.end)
        stop = end_of_sequence(tokenizer) if turn.stop is None else turn.stop
        labels[span] = [*encoded.ids[turn.start : turn.end], stop]
        weights[span] = share * found.raw / found.normaliser
        targets.append(found)
        total += share
    return Example(trajectory.id, encoded.ids, labels, weights, total, tuple(targets))


def turn_targets(
    encoded: Encoded,
    turn: EncodedTurn,
    message: Message,
    tools: Sequence[Tool],
    tokenizer: PreTrainedTokenizerFast,
    pkt: PktConfig,
    format_name: str,
) -> TurnTargets:
    """Weights of one turn's answer tokens and of its stop token, by the rule ``pkt`` names.

    ``reference`` searches the tokens as the released code does where ``format_name`` is one that it can read, and
    applies its arithmetic to the structure's key tokens and closers in a chat template.
    """
    ids = encoded.ids[turn.start : turn.end]
    size, names = len(ids) + 1, tuple(tool.name for tool in tools)
    if pkt.mode == "reference" and format_name in released.FORMATS:
        offered = [released.name_tokens(name, tokenizer) for name in names]
        found = released.turn_weights(tokenizer.convert_ids_to_tokens(ids.tolist()), offered, pkt.max_weight)
        return TurnTargets(turn.message, turn.start - 1, found.numerator, found.denominator, found.keys)
    keys: set[int] = set()
    if pkt.mode != "none":
        pairs = zip(turn.calls, message.tool_calls, strict=True)
        found_keys = {key - turn.start for span, call in pairs for key in key_tokens(span, call.name, names, tokenizer)}
        keys = {key for key in found_keys if key < len(ids)}
    if pkt.mode == "reference" and keys:
        closers = {closer - turn.start for call in turn.calls for closer in call.closers if closer < turn.end}
        found = released.weigh(size, keys, closers, pkt.max_weight)
        return TurnTargets(turn.message, turn.start - 1, found.numerator, found.denominator, found.keys)
    raw = np.ones(size)
    raw[sorted(keys)] = key_weight(len(ids), len(keys), pkt.max_weight)
    return TurnTargets(turn.message, turn.start - 1, raw, float(raw.sum()), tuple(sorted(keys)))


def key_weight(answer_tokens: int, keys: int, max_weight: float) -> float:
    """The paper's ``clip(|NK| / |K|, 1, max_weight)``; NK are the answer's other tokens, without the stop token."""
    return float(np.clip((answer_tokens - keys) / keys, 1.0, max_weight)) if keys else 1.0


def key_tokens(span: EncodedCall, gold: str, names: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Positions in the stream of the tokens that decide which tool is called.

    These are the name's first token and, for every other tool whose name begins with the same tokens, the first token
    that tells it apart; where the gold name is a beginning of the other's, that is the token after the name, "(". Each
    name is tokenised in the gold name's place, with the text around it. Counting begins at the name, whatever stands
    before it (prose, ``{"name": "``); a quote that is one token with the name's beginning belongs to that token. Of
    several calls each has its own.
    """
    others = tuple(sorted({name for name in names if name != gold}))
    shared = _shared_tokens(span.before, gold, span.after, others, tokenizer)
    return [span.name[0], *(span.name[0] + length for length in shared)]


@lru_cache(maxsize=65536)
def _shared_tokens(
    before: str, gold: str, after: str, others: tuple[str, ...], tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """The lengths > 0, in tokens, of what the name ``gold`` has in common with each other name in the same place."""
    plain = segment_tokenizer(tokenizer)

    def tokens(name: str) -> list[int]:
        encoding = plain.encode(before + name + after, opens=False)
        first = next((i for i, (_, end) in enumerate(encoding.offsets) if end > len(before)), 0)
        ids: list[int] = encoding.ids
        return ids[first:]

    golden = tokens(gold)
    lengths = {common_prefix(golden, tokens(name)) for name in others}
    return tuple(sorted(lengths - {0}))
