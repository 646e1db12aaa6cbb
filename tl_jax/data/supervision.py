"""Which tokens are targets and how much each counts: labels and weights of one trajectory.

One pass serves all turns. The tokens of the sample that ends with a turn are a prefix of the trajectory's stream; only
the label of the answer's last token differs (the stop token there, the template's newline in the stream). So that label
is set to the stop token, and every turn's weights are divided by their own sum: the loss of a turn is
``sum(w * ce) / sum(w)``, the loss of a batch ``sum(weights * ce) / turns``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.config import PktConfig
from tl_jax.config.pkt import PKT_MODES
from tl_jax.data.encoding import Encoded
from tl_jax.data.pkt import TargetAnswer
from tl_jax.data.segment_tokenizer import EncodeError, segment_tokenizer
from tl_jax.plugins import resolve
from tl_jax.tooluse.schema import Trajectory


@dataclass(frozen=True, slots=True)
class TurnTargets:
    """The targets of one turn: the answer's tokens and the stop token."""

    message: int
    predict_from: int
    """The position that predicts the answer's first token."""
    raw: np.ndarray
    """float64 [n + 1]: weights of the answer's n tokens and of the stop token before normalisation."""
    normaliser: float
    """What ``raw`` is divided by."""
    keys: tuple[int, ...]
    """Key tokens, counted from the answer's first."""

    @property
    def span(self) -> slice:
        """The positions that predict them."""
        return slice(self.predict_from, self.predict_from + len(self.raw))


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
        end = self.targets[-1].span.stop if self.targets else 0
        return Example(self.id, self.tokens[:end], self.labels[:end], self.weights[:end], self.turns, self.targets)


def supervise(
    trajectory: Trajectory, encoded: Encoded, tokenizer: PreTrainedTokenizerFast, format_name: str, pkt: PktConfig
) -> Example:
    """Tokens, labels and weights of ``trajectory``, which is ``encoded`` in the format called ``format_name``.

    A turn of weight 0 (what MAE sets) is context only.

    Raises:
        EncodeError: an answer that nothing precedes, or a tokenizer without the EOS that is to be learnt.
    """
    for index, why in encoded.lost.items():
        if trajectory.messages[index].weight != 0:
            raise EncodeError(f"trajectory {trajectory.id!r}: {why}")
    labels = np.zeros_like(encoded.ids)
    weights = np.zeros(len(encoded.ids), np.float32)
    targets, total, earlier = [], 0.0, 0
    offered = tuple(tool.name for tool in trajectory.tools)
    weigh = resolve(PKT_MODES.find(pkt.mode).compute)
    for turn in encoded.turns:
        if turn.start <= earlier:
            raise EncodeError(f"trajectory {trajectory.id!r}: nothing precedes the answer of message {turn.message}")
        earlier = turn.end
        message = trajectory.messages[turn.message]
        share = 1.0 if message.weight is None else message.weight
        if not share:
            continue
        ids, called = encoded.ids[turn.start : turn.end], tuple(call.name for call in message.tool_calls)
        found = weigh(TargetAnswer(turn, ids, called, offered, format_name, tokenizer), pkt.max_weight)
        span = slice(turn.start - 1, turn.end)
        labels[turn.start - 1 : turn.end - 1] = ids
        labels[turn.end - 1] = segment_tokenizer(tokenizer).eos if turn.stop is None else turn.stop
        weights[span] = share * found.raw / found.normaliser
        targets.append(TurnTargets(turn.message, turn.start - 1, found.raw, found.normaliser, found.keys))
        total += share
    return Example(trajectory.id, encoded.ids, labels, weights, total, tuple(targets))
