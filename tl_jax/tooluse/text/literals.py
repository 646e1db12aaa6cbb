"""Tool results that are written as JSON or as Python writes its values, cut off in the middle or not."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from tl_jax.tooluse.mae.phrases import QUOTED_NAME

CUT = "..."
"""The key that marks an object whose end was cut off: what it said there is unknown."""
LONGEST = 200_000
"""Characters of a text that is read as Python, or completed. Python takes 500 bytes for each of them."""


def structure(text: str) -> Any:
    """The list, object or quoted text that the whole text is, in JSON or as Python writes it; None for other text.

    Data sets cut long results off. Of such a list or object the beginning is given, an object marked by `CUT`; of one
    that is no JSON and longer than `LONGEST`, what its beginning says.
    """
    text = text.strip()
    if not text.startswith(("{", "[", '"', "'")) or QUOTED_NAME.match(text):
        return None
    value = _parsed(text)
    if value is None and text.startswith(("{", "[")):
        beginning = text[: LONGEST - _MAX_DEPTH - 1]
        value = next((found for repaired in _repaired(beginning) if (found := _parsed(repaired))), None)
        return {**value, CUT: CUT} if isinstance(value, dict) else value
    return value


class GivenTwice(ValueError):
    """A value that would be lost: another one has the same key."""


def python_literal(text: str, unique: bool = False) -> Any:
    """The value that a text denotes in Python: ``{'a': None}``.

    Args:
        unique: a dictionary that gives a key twice is none.

    Raises:
        ValueError: it is no literal, too deep, or longer than `LONGEST`.
    """
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters are not read as Python")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d" in untrusted text
            tree = ast.parse(text.lstrip(" \t"), mode="eval")
            if unique and any(map(_gives_twice, ast.walk(tree))):
                raise GivenTwice("a dictionary gives a key twice")
            return ast.literal_eval(tree)
    except (TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _gives_twice(node: ast.AST) -> bool:
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
    return len(set(keys)) < len(keys)


def as_text(field: Any) -> str:
    """Text as it is, anything else as JSON."""
    try:
        return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):  # too deep, keys that are no text, integers of 5,000 digits
        return type(field).__name__


def _parsed(text: str) -> Any:
    """The value that JSON or a Python literal denotes, None for anything else. Nothing of it is written again, so that
    it may be ``NaN``, as Python writes it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return python_literal(text)
    except ValueError:
        return None


_MARKS = re.compile(r"\\.|[\"'\[\]{},]", re.DOTALL)
_CLOSING = {"[": "]", "{": "}"}
_MAX_DEPTH = 100
"""A text with more brackets inside each other is not repaired."""


def _repaired(text: str) -> Iterator[str]:
    """Ways to complete a text that ends inside brackets: where it ends, and before the item it ends in."""
    quote, closing, comma = "", "", (0, "")
    for match in _MARKS.finditer(text):
        mark = match[0]
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark in _CLOSING and len(closing) < _MAX_DEPTH:
            closing = _CLOSING[mark] + closing
        elif mark in "]}":
            if not closing.startswith(mark):
                return  # not cut off, but broken
            closing = closing[1:]
        elif mark == ",":
            comma = (match.start(), closing)
    if closing:
        yield text + quote + closing
        yield text[: comma[0]] + comma[1]
