"""The items of a JSON list one after another, without the whole of it in memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from tl_jax.tooluse.strict_json import DECODER

CHUNK = 1 << 20
"""Characters that are read at a time, or as many as are in hand where these do not hold an item's end."""
_BLANK = " \t\n\r"
_AFTER = {*_BLANK, ",", "]"}
"""What may stand after an item."""


def items(file: IO[bytes]) -> Iterator[Any]:
    """The items of the list that a file is, each of them checked as `strict_json.loads` does.

    Raises:
        ValueError: the file is no such list, or no UTF-8; only after the items before.
    """
    text = _TextInHand(file)
    text.expect("[")
    if text.next() == "]":
        text.expect("]")
    else:
        yield text.value()
        while text.next() == ",":
            text.expect(",")
            yield text.value()
        text.expect("]")
    if text.next():
        raise ValueError("something follows the list")


class _TextInHand:
    """What is left of a text, of which only the next part is in hand."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8-sig")()
        self._hand, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """The next character that is no blank; nothing at the end."""
        while True:
            while self._at < len(self._hand) and self._hand[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._hand):
                return self._hand[self._at]
            if self._ended:
                return ""
            self._more()

    def expect(self, character: str) -> None:
        if self.next() != character:
            raise ValueError(f"{character!r} is missing")
        self._at += 1

    def value(self) -> Any:
        """The next value."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._hand, self._at)
                if self._ended or self._hand[end : end + 1] in _AFTER:  # else a number may go on
                    break
            except json.JSONDecodeError:
                if self._ended:
                    raise
            except RecursionError:
                raise ValueError("nested too deeply") from None
            self._more()
        self._at = end
        return value

    def _more(self) -> None:
        hand = self._hand[self._at :]
        read = self._file.read(max(CHUNK, len(hand)))
        self._ended = not read
        self._hand, self._at = hand + self._decoder.decode(read, final=self._ended), 0
