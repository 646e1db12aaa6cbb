"""JSON as its standard has it, with numbers that can be computed with and written again.

Python's own reader takes ``NaN`` and ``Infinity``, makes ``1e999`` infinity, and writes what no other reader takes. Of
a field that an object gives twice it keeps the last and loses the others.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

MAX_BITS = 1023
"""Binary digits of a whole number; a longer one is no float, and Python may refuse to print it."""


HALF_CHARACTER = "holds half of a surrogate pair (\\ud800 to \\udfff)"


def loads(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, it is too deep, an object in it gives a field twice, or a number in it is infinite, no
            number, or has over 308 digits.

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


def has_half_character(text: str, value: Any) -> bool:
    r"""Whether the value of a JSON text has half of a surrogate pair, which no tokenizer and no file takes.

    Example:
        >>> has_half_character(r'"\ud83d"', loads(r'"\ud83d"')), has_half_character(r'"\ud83d\ude00"', "😀")
        (True, False)
    """
    if "\\u" not in text:  # the only way to one
        return False
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


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_no_number)
"""For a value that other text follows (``raw_decode``). What is too deep is a RecursionError."""
