"""Every syntax by its name, and finding out which one a text is in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from tl_jax.registry import Registry
from tl_jax.tooluse.text.syntaxes import (
    dsml_calls,
    gemma_calls,
    glaive,
    json_calls,
    key_calls,
    line_calls,
    python,
    token_calls,
    xml_calls,
)
from tl_jax.tooluse.text.syntaxes.base import Offer, Parsed, Problem, Syntax


class SyntaxTable(Registry[Syntax]):
    """The syntaxes. One that is added is known at once."""

    def add(self, record: Syntax) -> Syntax:
        _forget()
        return super().add(record)

    @contextmanager
    def added(self, record: Syntax) -> Iterator[Syntax]:
        try:
            with super().added(record) as known:
                yield known
        finally:
            _forget()


def _forget() -> None:
    """What follows from the records is worked out anew."""
    for known in (_openings, _beginnings, _marks):
        known.cache_clear()


def item(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
    """The call, or the calls that are written as one, at a position, and where they end.

    Raises:
        Problem: there is no call, or it cannot be read.
    """
    if offer.odd and offer.name_line.match(text, position):  # "lookup()", a line break, "{...}"
        return line_calls.read_name_line(text, position, offer)
    if head := offer.head.match(text, position):  # most calls, at once: nothing else begins like name(
        call, end = python.after_head(text, head, offer)
        return [call], end
    if found := _openings().get(text[position : position + 1]):
        syntaxes, pattern = found
        opened = pattern.match(text, position)
        if opened is not None and opened.lastgroup is not None:
            found_calls, end = syntaxes[int(opened.lastgroup[1:])].read(text, position, offer)
            if not all(call.name.strip() for call, _ in found_calls):
                raise Problem("a call has no name")
            return found_calls, end
    if offer.name_line.match(text, position):
        return line_calls.read_name_line(text, position, offer)
    raise Problem(f"expected name(...), not {text[position : position + 40]!r}")


def marked(text: str, position: int) -> bool:
    """Whether a call begins at the position, by a mark that no ordinary text holds."""
    if found := _openings().get(text[position : position + 1]):
        syntaxes, pattern = found
        opened = pattern.match(text, position)
        return opened is not None and opened.lastgroup is not None and syntaxes[int(opened.lastgroup[1:])].marked
    return False


def attempted(text: str, names: Sequence[str]) -> Syntax | None:
    """The first syntax in which the text tries to make a call, well or badly; None for ordinary text.

    Args:
        names: of the tools on offer.
    """
    return next((syntax for syntax in SYNTAXES.values() if syntax.attempts(text, names)), None)


def marks() -> re.Pattern[str]:
    """The marks that calls begin with, anywhere in a text."""
    return _marks()


def beginnings(offer: Offer) -> re.Pattern[str]:
    """Where calls may begin: at the beginnings of lines, those with a mark anywhere."""
    return _beginnings(offer.odd)


@lru_cache(maxsize=1)
def _openings() -> dict[str, tuple[tuple[Syntax, ...], re.Pattern[str]]]:
    """The syntaxes whose calls begin with a character, and which of them does: by the number in the group's name."""
    found = {}
    for first in sorted({character for syntax in SYNTAXES.values() for character in syntax.first}):
        syntaxes = tuple(syntax for syntax in SYNTAXES.values() if first in syntax.first)
        groups = (f"(?P<s{number}>{syntax.opening})" for number, syntax in enumerate(syntaxes))
        found[first] = syntaxes, re.compile("|".join(groups))
    return found


@lru_cache(maxsize=256)
def _beginnings(odd: tuple[str, ...]) -> re.Pattern[str]:
    ordinary = [syntax.opening for syntax in SYNTAXES.values() if not syntax.marked]
    on_a_line = "|".join([*map(re.escape, odd), *(f"(?:{opening})" for opening in ordinary)])
    return re.compile(rf"^[ \t]*(?={on_a_line})|(?={_marks().pattern})", re.MULTILINE)


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    syntaxes = [syntax for syntax in SYNTAXES.values() if syntax.marked]
    first = "".join(sorted({character for syntax in syntaxes for character in syntax.first}))
    openings = "|".join(f"(?:{syntax.opening})" for syntax in syntaxes)
    return re.compile(rf"(?=[{re.escape(first)}])(?:{openings})")


SYNTAXES = SyntaxTable(
    "syntax",
    (
        *token_calls.SYNTAXES,
        *gemma_calls.SYNTAXES,
        dsml_calls.SYNTAX,
        *xml_calls.SYNTAXES,  # some of them, and the next, in <tool_call> tags, which hold objects otherwise
        *key_calls.SYNTAXES,
        *line_calls.SYNTAXES,
        *json_calls.TAGGED,
        glaive.SYNTAX,
        *json_calls.SYNTAXES,
        xml_calls.ELEMENTS,
        line_calls.NAME_LINE,
        *python.SYNTAXES,  # [f(a=1)]: whatever else begins with a bracket
    ),
    columns={
        "syntax": lambda syntax: f"[`{syntax.name}`]({syntax.source})" if syntax.source else f"`{syntax.name}`",
        "what it is": lambda syntax: syntax.description,
        "example": lambda syntax: f"`{syntax.example.strip()}`".replace("\n", "⏎"),
    },
)
"""Every syntax. ``SYNTAXES.add(Syntax(...))`` makes one of your own known; the first that fits a text reads it."""
