"""Rendered text -> token ids that know which message, answer and call they belong to.

The text is cut where an answer begins and where it ends, so no token crosses either edge: the prompt of every turn is
token for token the beginning of the stream the model is trained on.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerFast

from tl_jax.data.segment_tokenizer import EncodeError, Piece, SegmentTokenizer, Tokens, joined, segment_tokenizer
from tl_jax.tooluse.text.spans import CallSpan, Rendered

Range = tuple[int, int]
"""``[start, end)``"""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTEXT = 16
"""Characters after a name that are enough to tokenise it as it stands there."""


@dataclass(frozen=True, slots=True)
class EncodedCall:
    """One call. ``before`` and ``after`` are the text around its name that is tokenised together with it."""

    name: Range
    """Its tokens; the first may begin with a quote or a blank before the name, the last end with what follows it."""
    before: str
    after: str
    closers: tuple[int, ...] = ()
    """For every argument the token that closes it: the one with the first character after the value."""


@dataclass(frozen=True, slots=True)
class EncodedTurn:
    """One assistant message: its answer is ``ids[start:end]``, ``stop`` the token that ends it (None: EOS)."""

    message: int
    start: int
    end: int
    stop: int | None
    calls: tuple[EncodedCall, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as tokens."""

    text: str
    """As rendered, without an EOS that the format appends."""
    ids: np.ndarray
    """int32 [T]"""
    offsets: np.ndarray
    """int32 [T, 2]: characters of ``text``; an empty range for BOS and EOS that the text does not hold."""
    message: np.ndarray
    """int32 [T]: the message that owns the token; -1 = before the first one."""
    turns: tuple[EncodedTurn, ...]
    lost: Mapping[int, str] = field(default_factory=dict)
    """Assistant messages that are not among the turns, and why: see `Rendered.lost`."""
    dropped: tuple[int, ...] = ()
    """Messages whose text is not written."""


def encode(rendered: Rendered, tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Tokens of a whole conversation, or of a prompt.

    BOS opens the stream exactly if the tokenizer's own ``__call__`` puts it there (and the text has none itself); EOS
    closes it if the format says so. Special tokens are recognised in the format's own text only.

    Raises:
        EncodeError: the tokenizer cannot encode a text in parts, or has no EOS; the text is not valid Unicode.
    """
    plain, text = segment_tokenizer(tokenizer), rendered.text
    if lone := _LONE_SURROGATE.search(text):
        around = text[max(lone.start() - 20, 0) : lone.start()]
        raise EncodeError(f"not valid Unicode: half of a surrogate pair, {lone[0]!r}, after {around!r}; mend the data")
    cuts = sorted({0, len(text), *(edge for turn in rendered.turns for edge in turn.answer)})
    pieces = plain.pieces(text, cuts, sorted(rendered.untrusted))
    stream = _Stream(plain, text, pieces)
    ids, offsets = stream.ids, stream.offsets
    if rendered.closed_by_eos:
        ids, offsets = np.append(ids, np.int32(plain.eos)), np.append(offsets, np.full((1, 2), len(text), np.int32), 0)
    turns = tuple(
        EncodedTurn(
            turn.message,
            stream.index(turn.answer[0]),
            stream.index(turn.answer[1]),
            None if turn.stop is None else stream.control_token(turn.stop[0]),
            tuple(stream.call(call) for call in turn.calls),
        )
        for turn in rendered.turns
    )
    starts = [start for start, _ in rendered.messages]
    owners = np.searchsorted(starts, offsets[:, 0], side="right").astype(np.int32) - 1
    owners[: stream.opening] = -1
    return Encoded(text, ids, offsets, owners, turns, rendered.lost, rendered.dropped)


class _Stream:
    """The tokens of all pieces, and where a character is among them."""

    def __init__(self, plain: SegmentTokenizer, text: str, pieces: Sequence[Piece]) -> None:
        has_own_bos = bool(pieces) and pieces[0].token is not None and (pieces[0].token,) == plain.bos
        opening = () if has_own_bos else plain.bos
        self.opening = len(opening)
        self._text, self._pieces = text, pieces
        self._first_token: list[int] = []
        parts = [(Tokens(np.array(opening, np.int32), np.zeros((len(opening), 2), np.int32)), 0)]
        size = len(opening)
        for piece in pieces:
            self._first_token.append(size)
            begun = len(parts)
            if piece.token is not None:
                span = np.array([(piece.start, piece.end)], np.int32)
                parts.append((Tokens(np.array([piece.token], np.int32), span), 0))
            else:
                parts += plain.segments(text[piece.start : piece.end], piece.opens, piece.start)
            size += sum(len(tokens.ids) for tokens, _ in parts[begun:])
        self._first_token.append(size)
        self.ids, self.offsets = joined(parts)
        """int32 [T], int32 [T, 2]"""
        self._starts, self._ends = np.ascontiguousarray(self.offsets.T)

    def index(self, position: int) -> int:
        """The token that begins at character ``position``, which must be a cut."""
        return self._first_token[bisect_left(self._pieces, position, key=lambda piece: piece.start)]

    def control_token(self, position: int) -> int | None:
        """The id of the control token that begins at character ``position``; None if plain text does."""
        found = bisect_left(self._pieces, position, key=lambda piece: piece.start)
        return self._pieces[found].token if found < len(self._pieces) else None

    def call(self, call: CallSpan) -> EncodedCall:
        """``call`` in tokens."""
        start, end = call.name
        found = bisect_right(self._pieces, start, key=lambda piece: piece.start) - 1
        begin, stop = self._first_token[found : found + 2]
        first = begin + int(np.searchsorted(self._ends[begin:stop], start, side="right"))
        last = begin + int(np.searchsorted(self._starts[begin:stop], end, side="left"))
        piece = self._pieces[found]
        after = self._text[end : piece.end][:_CONTEXT]
        ends = [value_end for _, value_end in call.arguments.values()]
        closers = tuple(np.searchsorted(self._ends, ends, side="right").tolist()) if ends else ()
        return EncodedCall((first, last), self._text[piece.start : start], after, closers)
