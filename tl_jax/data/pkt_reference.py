"""PKT as the released code counts it, token for token: mode ``reference``.

Reproduced as it is, oddities included, so that figures can be compared; `pkt` has the published definition.

* ``K``: the answer's first token and the first token by which another tool's name differs from the called one.
* ``P``: tokens that close an argument, wherever they stand, a value's own ")" too; the last token if there is none.
* ``O``: all other targets, the stop token included. ``w = min(|O| / |K|, max_weight)`` if ``|K| < |O|``, else 1.
* A token in both K and P counts ``w + 1`` in the numerator, but ``w`` in the denominator.
* The answer is taken to begin two tokens after the last token "istant". One inside the answer ("Assistant", "distant")
  therefore hides everything before it from the loss.
* The called name ends at the first token that opens an argument list, the kinds of such tokens being tried in turn. An
  answer without any stops that code with an error, as do other rarities; such a turn has plain weights here.

That code can only read the two formats of `FORMATS`. In a chat template the same arithmetic (`weigh`) is applied to the
K and P that the structure gives. docs/pkt.md lists every case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.data.pkt import AnswerWeights, TargetAnswer, key_tokens
from tl_jax.data.segment_tokenizer import segment_tokenizer
from tl_jax.tooluse.prefixes import common_prefix

FORMATS = ("paper", "paper_full", "released")
"""The formats whose answers the released code can read."""

_CLOSERS = frozenset(["',", "')", "▁')", "▁'')", '")', '▁")', '▁"")', '.")', ')")', ")", ")_", "()", "()_"])
_OPENERS = ("(", "()", "(_", "_(", "_()", "()_", '("')
_NAME_ENDS = ("(", "()", "():")
_MARK = "istant"


def reference_weights(answer: TargetAnswer, max_weight: float) -> AnswerWeights:
    """Mode ``reference``: the released search in the formats that it can read, its arithmetic in any other."""
    if answer.format in FORMATS:
        offered = [name_tokens(name, answer.tokenizer) for name in answer.offered]
        return search_tokens(answer.tokenizer.convert_ids_to_tokens(answer.ids.tolist()), offered, max_weight)
    keys, size, turn = key_tokens(answer), len(answer.ids) + 1, answer.turn
    if not keys:
        return _no_keys(size)
    closers = {closer - turn.start for call in turn.calls for closer in call.closers if closer < turn.end}
    return weigh(size, set(keys), closers, max_weight)


def search_tokens(answer: Sequence[str], names: Iterable[Sequence[str]], max_weight: float) -> AnswerWeights:
    """Weights of an answer given as token strings, ``names`` being those of every tool offered."""
    answer = [token.replace("Ġ", "▁") for token in answer]
    size = len(answer) + 1
    begin = _after_last_mark(answer, followed_by_colon=False)
    called = _called_name(answer)
    if called is None or begin >= size:
        return _no_keys(size)
    shared = {common_prefix(called, list(name)) for name in names if list(name) != called}
    keys = {begin} | {begin + length for length in shared}
    closers = {i for i in range(begin, len(answer)) if answer[i] in _CLOSERS} or {max(begin, len(answer) - 1)}
    if max(keys) >= size:
        return _no_keys(size)
    return weigh(size, keys, closers, max_weight, begin)


def weigh(
    size: int, keys: AbstractSet[int], closers: AbstractSet[int], max_weight: float, begin: int = 0
) -> AnswerWeights:
    """The released arithmetic for targets ``[begin, size)``, the last being the stop token. O is what K and P leave."""
    others = size - begin - len(keys | closers)
    weight = min(others / len(keys), max_weight) if len(keys) < others else 1.0
    numerator = np.zeros(size)
    numerator[begin:] = 1.0
    numerator[sorted(keys)] = weight
    denominator = float(numerator.sum())
    numerator[sorted(keys & closers)] += 1.0
    return AnswerWeights(numerator, denominator, tuple(sorted(keys)))


def _no_keys(size: int) -> AnswerWeights:
    """Each target counts 1."""
    return AnswerWeights(np.ones(size), float(size))


@lru_cache(maxsize=65536)
def name_tokens(name: str, tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...]:
    """A tool's name as the system prompt has it, between ``def`` and the parenthesis."""
    ids = segment_tokenizer(tokenizer).encode(f" {name}(", opens=False).ids
    tokens = [token.replace("Ġ", "▁") for token in tokenizer.convert_ids_to_tokens(ids.tolist())]
    end = next((i for i, token in enumerate(tokens) if token in _NAME_ENDS), len(tokens))
    return tuple(tokens[:end])


def _called_name(answer: Sequence[str]) -> list[str] | None:
    """The tokens from the last role marker to where an argument list opens; None if none does."""
    start = _after_last_mark(answer, followed_by_colon=True)
    for opener in _OPENERS:
        if opener in answer[max(start - 2, 0) :]:
            end = list(answer).index(opener, max(start - 2, 0))
            return list(answer[start:end])
    return None


def _after_last_mark(answer: Sequence[str], followed_by_colon: bool) -> int:
    """Where the answer begins to that code: 0, or two tokens after the last "istant" in it."""
    marks = [
        i
        for i, token in enumerate(answer)
        if token == _MARK and (not followed_by_colon or answer[i + 1 : i + 2] == [":"])
    ]
    return marks[-1] + 2 if marks else 0
