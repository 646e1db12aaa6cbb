"""The values that the demo's world speaks of, and which split may see which.

Every open value (names, titles, codes, times, dates, numbers) belongs to one side by its hash, and a split draws from
its own side only.
"""

from __future__ import annotations

import random
import zlib
from typing import Any, Literal, TypeAlias

Split: TypeAlias = Literal["base", "train", "values", "tools", "domains"]
Side: TypeAlias = Literal["base", "train", "held-out"]
Value: TypeAlias = str | int | bool

_SIDES: tuple[Side, ...] = ("base", "train", "train", "held-out")
ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("l", "n", "r", "s")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ADJECTIVES = (
    "red",
    "blue",
    "white",
    "old",
    "new",
    "big",
    "small",
    "dark",
    "bright",
    "quiet",
    "loud",
    "warm",
    "cold",
    "soft",
    "sweet",
    "long",
    "short",
    "happy",
)


def side(value: Value) -> Side:
    """The one side a value belongs to, by its hash: a quarter base, half train, a quarter held out."""
    return _SIDES[zlib.crc32(str(value).encode()) % len(_SIDES)]


def is_open(kind: str) -> bool:
    """Whether values of this kind are drawn from a side (an enum's and a boolean's belong to the tool's definition)."""
    return "/" not in kind and kind != "with"


def schema(kind: str, description: str) -> dict[str, Any]:
    """The JSON schema of a slot."""
    if "/" in kind:
        return {"type": "string", "description": description, "enum": kind.split("/")}
    type_ = "boolean" if kind == "with" else "integer" if "-" in kind else "string"
    return {"type": type_, "description": description}


def draw(kind: str, split: Split, rng: random.Random) -> Value:
    """A value of ``kind`` from the side that ``split`` may see."""
    if not is_open(kind):
        return rng.random() < 0.5 if kind == "with" else rng.choice(kind.split("/"))
    wanted = split if split in ("base", "train") else "held-out"
    while True:
        value = _value(kind, rng)
        if side(value) == wanted:
            return value


def _value(kind: str, rng: random.Random) -> Value:
    if "-" in kind:
        low, high = kind.split("-")
        return rng.randint(int(low), int(high))
    if kind == "name":
        return made_up_word(rng).capitalize()
    if kind == "title":
        return f"{rng.choice(_ADJECTIVES)} {syllable(rng)}{syllable(rng)}"
    if kind == "code":
        return f"{rng.choice('ABCDEFGHKLMNPRSTVWXZ')}{rng.randint(10, 99)}"
    if kind == "time":
        return f"{rng.randint(6, 23)}:{rng.randint(0, 11) * 5:02d}"
    if kind == "date":
        return f"{rng.randint(1, 28)} {rng.choice(_MONTHS)}"
    raise ValueError(f"unknown kind of slot {kind!r}")


def syllable(rng: random.Random) -> str:
    return rng.choice(ONSETS) + rng.choice(_VOWELS)


def made_up_word(rng: random.Random) -> str:
    return syllable(rng) + syllable(rng) + rng.choice(_CODAS)


def spoken(value: Value) -> str:
    """How a request or an answer says a value."""
    return ("with" if value else "without") if isinstance(value, bool) else str(value)
