"""Whether a text tries to make a call: what the syntaxes look for, in an answer of any length, in linear time."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from tl_jax.tooluse.text.syntaxes.base import Attempts

_BEGUN = re.compile(r"\s*(?:[\[{(]|<(?!/)|\Z)")
"""What follows the opening of a call that has begun, and not the word for it in a sentence."""
_SPOKEN_OF = re.compile(r"[.,;:!?)\"'”’»*]|[ \t]+(?P<word>[a-z]+)(?=[ .,;:!?)]|\Z)(?![ \t]*[{(])")
"""What follows a token that a sentence names: a mark of punctuation, or a word that no arguments follow."""
_LINE = 200
"""Characters of a line before a token that are looked at."""
_END_OF_LINE = re.compile(r"[^\S\n]*(?:\n|\Z)")
_BEGUN_NAME = re.compile(r"[\w.-]+(?:\s*\Z|[(\n<])")


def marked(*marks: str, closing: str = "") -> Attempts:
    """Attempts begin with one of these texts.

    A mark that is only spoken of ("calls stand in <tool_call> tags") is none: what follows has to begin a call, or a
    line has to begin with the mark and to end with ``closing``.
    """

    def attempts(text: str, names: Sequence[str]) -> bool:
        return any(_used(text, mark, closing, names) for mark in marks)

    return attempts


def special(*tokens: str) -> Attempts:
    """Attempts hold one of these texts, which no sentence does unless it speaks of them."""

    def attempts(text: str, names: Sequence[str]) -> bool:
        return any(not _spoken_of(text, at, token, names) for token in tokens for at in _places(text, token))

    return attempts


def written(*patterns: str, hint: str = "") -> Attempts:
    """Attempts match one of these regular expressions, in which ``NAMES`` stands for any offered name.

    Args:
        hint: is in every attempt; a text without it is not searched.
    """

    def attempts(text: str, names: Sequence[str]) -> bool:
        return hint in text and any(
            found.search(text) is not None for pattern in patterns if (found := _compiled(pattern, tuple(names)))
        )

    return attempts


def either(*ways: Attempts) -> Attempts:
    """Attempts are what one of these takes for one."""
    return lambda text, names: any(way(text, names) for way in ways)


@lru_cache(maxsize=4096)
def _compiled(pattern: str, names: tuple[str, ...]) -> re.Pattern[str] | None:
    """None where the pattern needs an offered name, and there is none."""
    if "NAMES" in pattern and not any(names):
        return None
    named = "|".join(re.escape(name) for name in names if name)
    return re.compile(pattern.replace("NAMES", f"(?:{named})"), re.MULTILINE)


def _places(text: str, mark: str) -> list[int]:
    """Where the mark stands."""
    places, at = [], text.find(mark)
    while at >= 0:
        places.append(at)
        at = text.find(mark, at + len(mark))
    return places


def _spoken_of(text: str, at: int, token: str, names: Sequence[str]) -> bool:
    """Whether a text only names the token: as code, or in a sentence that begins before it and goes on as one."""
    if at and text[at - 1] == "`":
        return True
    found = _SPOKEN_OF.match(text, at + len(token))
    if found is None or (found["word"] and _begins_with(text, found.start("word"), names)):
        return False
    start = max(0, at - _LINE)
    return any(map(str.isalpha, text[max(start, text.rfind("\n", start, at) + 1) : at]))


def _used(text: str, mark: str, closing: str, names: Sequence[str]) -> bool:
    """Whether a mark begins a call somewhere, or a line that ends with the next ``closing``."""
    places = _places(text, mark)
    if any(_begun(text, at + len(mark), names) for at in places):
        return True
    closed = [at + len(closing) for at in _places(text, closing)] if closing and places else []
    ends = {bisect_left(closed, at + len(mark) + len(closing)) for at in places if closed and _begins_line(text, at)}
    return any(_END_OF_LINE.match(text, closed[number]) for number in ends if number < len(closed))


def _begun(text: str, end: int, names: Sequence[str]) -> bool:
    """Whether a call begins after a mark, which ends there."""
    if _BEGUN.match(text, end) or _BEGUN_NAME.match(text, end):
        return True
    after = text[end : end + 1_000]
    return _begins_with(after, len(after) - len(after.lstrip()), names)


def _begins_with(text: str, at: int, names: Sequence[str]) -> bool:
    """Whether one of these names stands there."""
    found = (at + len(name) for name in names if name and text.startswith(name, at))
    return any(not text[end : end + 1].isalnum() for end in found)


def _begins_line(text: str, at: int) -> bool:
    """Whether only blanks stand before it in its line."""
    while at and text[at - 1] != "\n" and text[at - 1].isspace():
        at -= 1
    return not at or text[at - 1] == "\n"
