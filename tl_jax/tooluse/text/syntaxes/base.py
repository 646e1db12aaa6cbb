"""What a syntax of calls is: one record, which says everything about it that anything else needs to know."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from tl_jax.tooluse.same_name import by_name
from tl_jax.tooluse.schema import Call, Tool

MAX_LENGTH = 20_000
"""Characters; a longer answer is refused. `ast` takes up to 15 ms for as much text, and real calls are far shorter."""
MAX_DEPTH = 32
"""Brackets in brackets."""
MAX_ARGUMENTS = 1_000
"""Arguments of one call."""

NAME = r"[^\s()\[\]{}<>'\",;=#`]+"
"""A tool's name where nothing but the call around it says where it ends. A backtick before it is Markdown's."""
KEY = r"[^\s()\[\]{}'\",;=#*]+"
"""An argument's name, likewise."""

Parsed: TypeAlias = tuple[Call, tuple[Any, ...]]
"""A call and its positional arguments."""
Reader: TypeAlias = Callable[[str, int, "Offer"], tuple[list[Parsed], int]]
"""Reads the calls that begin at a position of a text, and says where they end. Strict; executes nothing.

Raises `Problem` for anything else.
"""
Attempts: TypeAlias = Callable[[str, Sequence[str]], bool]
"""Whether a text tries to make a call, well or badly, given the names of the tools on offer."""


class Problem(Exception):
    """Why a text is not a call."""


class Offer:
    """The tools that an answer may call, as far as reading it depends on them.

    Args:
        tools: of several with one name the first counts.

    Attributes:
        odd: names that end where no plain name would, such as ``Tide Table API``, and are understood nonetheless.
    """

    __slots__ = ("_keys", "_named", "_tools", "head", "name_line", "odd")

    def __init__(self, tools: Iterable[Tool] = (), odd: tuple[str, ...] = ()) -> None:
        self._tools = tools
        self._named: dict[str, Tool] | None = None
        self._keys: dict[str, tuple[str, ...]] | None = None
        self.odd = odd
        self.head, self.name_line = _heads(odd) if odd else _PLAIN_HEADS

    def tool(self, name: str) -> Tool | None:
        """The tool of that name."""
        if self._named is None:
            self._tools = tuple(self._tools)
            self._named = by_name(self._tools)
        return self._named.get(name)

    def odd_keys(self, name: str) -> tuple[str, ...]:
        """The parameters of a tool whose names are no plain ones, but end at the ``=`` after them."""
        if self._keys is None:
            self._keys = {}
        if name not in self._keys:
            tool = self.tool(name)
            self._keys[name] = _odd(tuple(key for key in tool.properties if "=" not in key) if tool else (), KEY)
        return self._keys[name]

    def with_odd_names(self) -> Offer | None:
        """The same tools, with all of their names understood; None where all of them are plain names."""
        self._tools = tuple(self._tools)
        odd = _odd(tuple([tool.name for tool in self._tools]), NAME)
        return Offer(self._tools, odd) if odd else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """One way in which models write calls. Parser, readers, rewards, tests and documents follow from these records.

    Args:
        name: for errors and documents.
        description: for the documents: whose it is. Markdown.
        example: ``f(a=1)`` in this syntax.
        opening: a regular expression for what calls begin with, without groups. Of several syntaxes that fit, the first
            one of the table counts.
        first: the characters that an opening may begin with; none: those of a name.
        marked: no ordinary text holds the opening. Calls may then begin in the middle of a line, and follow another
            call without anything between them.
        read: reads calls at a position where the opening fits.
        attempts: whether a text tries to make a call in this syntax. True for more than `read` understands: a call that
            is cut off is an attempt as well.
        write: writes calls of plain values, for tests and documents.
        source: where it is described or used: a URL. Empty: here.
    """

    name: str
    description: str
    example: str
    opening: str
    first: str
    marked: bool = False
    read: Reader
    attempts: Attempts
    write: Callable[[Sequence[Call]], str]
    source: str = ""


def skip_space(text: str, position: int) -> int:
    """Where the next character stands that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def expect(text: str, position: int, what: str) -> int:
    """Where ``what`` ends, which has to stand at the position, perhaps after white space.

    Raises:
        Problem: it does not.
    """
    position = skip_space(text, position)
    if not text.startswith(what, position):
        raise Problem(f"expected {what!r}, not {text[position : position + 40]!r}")
    return position + len(what)


_SPACE = re.compile(r"\s*")


@lru_cache(maxsize=4096)
def section(one: Reader, *around: tuple[str, str]) -> Reader:
    """Reads what ``one`` reads, one after another between two marks; also a single one that stands without them.

    Args:
        around: the marks before and after; each pair means the same.
    """

    def read(text: str, position: int, offer: Offer) -> tuple[list[Parsed], int]:
        opening, closing = next((marks for marks in around if text.startswith(marks[0], position)), ("", ""))
        if not opening:
            return one(text, position, offer)
        calls: list[Parsed] = []
        position = skip_space(text, position + len(opening))
        while not text.startswith(closing, position):
            found, position = one(text, position, offer)
            calls += found
            position = skip_space(text, position)
        if not calls:
            raise Problem("no call")
        return calls, position + len(closing)

    return read


def _odd(names: tuple[str, ...], plain: str) -> tuple[str, ...]:
    """Those that are no plain names, the longest first, so that none hides another that it begins."""
    return tuple(sorted((name for name in names if name and not re.fullmatch(plain, name)), key=len, reverse=True))


@lru_cache(maxsize=1024)
def _heads(odd: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What a Python call begins with, and a line with a name before an object; group 1 is the name."""
    name = "|".join([*(rf"{re.escape(one)}(?=[ \t]*[(\r\n])" for one in odd), NAME])
    return re.compile(rf"({name})[ \t]*\("), re.compile(rf"({name})[ \t]*\r?\n[ \t]*(?={{)")


_PLAIN_HEADS = _heads(())
