"""Prioritising key tokens (PKT): which tokens decide which tool is called, and what the tokens of an answer weigh.

Here are the modes `none` and `paper`; `pkt_reference` counts as the released code does. The table of modes is
`tl_jax.config.pkt.PKT_MODES`. Source: https://arxiv.org/abs/2412.15495; docs/pkt.md has every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.data.encoding import EncodedCall, EncodedTurn
from tl_jax.data.segment_tokenizer import segment_tokenizer
from tl_jax.tooluse.prefixes import common_prefix


@dataclass(frozen=True, slots=True)
class TargetAnswer:
    """One turn, as a mode sees it."""

    turn: EncodedTurn
    ids: np.ndarray
    """int32 [n]: the answer's tokens, without the stop token."""
    called: tuple[str, ...]
    """Name of the tool of each call in ``turn.calls``."""
    offered: tuple[str, ...]
    """Names of all tools."""
    format: str
    """Name of the text format."""
    tokenizer: PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class AnswerWeights:
    """``sum(raw * ce) / normaliser`` is the loss of the turn."""

    raw: np.ndarray
    """float64 [n + 1]: of the answer's n tokens and of the stop token."""
    normaliser: float
    keys: tuple[int, ...] = ()
    """Key tokens, counted from the answer's first."""


def plain_weights(answer: TargetAnswer, max_weight: float) -> AnswerWeights:
    """Mode ``none``: every target weighs 1."""
    size = len(answer.ids) + 1
    return AnswerWeights(np.ones(size), float(size))


def paper_weights(answer: TargetAnswer, max_weight: float) -> AnswerWeights:
    """Mode ``paper``: the key tokens of all calls share one weight, every other target weighs 1."""
    keys = key_tokens(answer)
    raw = np.ones(len(answer.ids) + 1)
    raw[keys] = key_weight(len(answer.ids), len(keys), max_weight)
    return AnswerWeights(raw, float(raw.sum()), tuple(keys))


def key_weight(answer_tokens: int, keys: int, max_weight: float) -> float:
    """The paper's ``clip(|NK| / |K|, 1, max_weight)``; NK are the answer's other tokens, without the stop token.

    Example:
        >>> key_weight(answer_tokens=10, keys=2, max_weight=9.0)
        4.0
    """
    return min(max((answer_tokens - keys) / keys, 1.0), max_weight) if keys else 1.0


def key_tokens(answer: TargetAnswer) -> list[int]:
    """The tokens that decide which tools are called, of all calls, in their order, counted from the answer's first.

    These are each name's first token and, for every other tool whose name begins with the same tokens, the first token
    that tells it apart; where the called name is a beginning of the other's, that is the token after the name, "(".
    Each name is tokenised in the called name's place, with the text around it. Counting begins at the name, whatever
    stands before it (prose, ``{"name": "``); a quote that is one token with the name's beginning belongs to that token.
    """
    keys: set[int] = set()
    for span, name in zip(answer.turn.calls, answer.called, strict=True):
        first = span.name[0] - answer.turn.start
        keys |= {first, *(first + length for length in _parting(span, name, answer.offered, answer.tokenizer))}
    return sorted(key for key in keys if key < len(answer.ids))


def _parting(
    span: EncodedCall, name: str, offered: Sequence[str], tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """How many tokens of ``name`` precede those at which other names that begin alike part from it."""
    others = tuple(sorted({other for other in offered if other != name and _may_begin_alike(other, name)}))
    return _shared_tokens(span.before, name, span.after, others, tokenizer)


def _may_begin_alike(one: str, other: str) -> bool:
    """Whether the first tokens of two names may be the same: not if they begin with different letters or digits.

    Of other characters than ASCII's the first byte may be a token; some tokenizers take capital letters for small ones.
    """
    first, second = one[:1].lower(), other[:1].lower()
    return first == second or not (first + second).isascii() or not (first + second).isalnum()


@lru_cache(maxsize=65536)
def _shared_tokens(
    before: str, name: str, after: str, others: tuple[str, ...], tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """The lengths > 0, in tokens, of what ``name`` has in common with each other name in the same place."""
    segments = segment_tokenizer(tokenizer)

    def tokens(name: str) -> list[int]:
        found = segments.encode(before + name + after, opens=False)
        ids: list[int] = found.ids[np.searchsorted(found.offsets[:, 1], len(before), side="right") :].tolist()
        return ids

    called = tokens(name)
    lengths = {common_prefix(called, tokens(other)) for other in others}
    return tuple(sorted(lengths - {0}))
