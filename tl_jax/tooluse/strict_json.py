"""JSON as its standard has it, with numbers that can be computed with, and nothing that cannot be written again.

Python's own reader takes ``NaN`` and ``Infinity``, makes ``1e999`` infinity, and writes what no other reader takes. Of
a field that an object gives twice it keeps the last and loses the others. Half of a surrogate pair is a
character for it, which no file and no tokenizer takes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

MAX_BITS = 1023
"""Binary digits of a whole number; a longer one is no float, and Python may refuse to print it."""


class HalfCharacter(ValueError):
    """A text in a value has half of a surrogate pair."""

    def __init__(self, end: int) -> None:
        super().__init__("half of a surrogate pair (\\ud800 to \\udfff)")
        self.end = end
        """Where the value ends in the JSON text."""


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, it is too deep, an object in it gives a field twice, a number in it is infinite, no
            number, or has over 308 digits, or a text half of a surrogate pair.

    Example:
        >>> loads("[1e308]")
        [1e+308]
        >>> loads("[1e309]")
        Traceback (most recent call last):
            ...
        ValueError: a number is too large: 1e309
    """
    try:
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _has_half_character(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _too_large(text)


def _integer(text: str) -> int:
    if len(text) > MAX_BITS:  # Python takes the square of their number to read many digits
        _too_large(text)
    value = int(text)
    return value if value.bit_length() <= MAX_BITS else _too_large(text)


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(fields)
    if len(value) < len(fields):
        twice = next(name for name, count in Counter(name for name, _ in fields).items() if count > 1)
        raise ValueError(f"an object gives {twice[:40]!r} twice")
    return value


def _too_large(text: str) -> NoReturn:
    raise ValueError(f"a number is too large: {text if len(text) <= 20 else text[:17] + '...'}")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class _Decoder(json.JSONDecoder):
    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        value, end = super().raw_decode(s, idx)
        if s.find("\\u", idx, end) >= 0 and _has_half_character(value):  # no other way leads to one
            raise HalfCharacter(end)
        return value, end


DECODER = _Decoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_no_number)
"""For a value that other text follows (``raw_decode``). What is too deep is a RecursionError."""
