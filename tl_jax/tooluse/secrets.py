"""Keys, tokens and passwords that do not belong into training data, replaced by ``***``.

A secret is told by what it looks like: the forms that services give their keys, or a random value in a place that says
what it is (``api_key=``, ``Authorization: Bearer``, ``scheme://user:password@host``). A field that is merely called
``token`` proves nothing: page tokens, addresses and sessions are what later calls are about. What was found once in a
row is replaced wherever the row says it, so that a gold call still equals what a perfect answer to the text says.
`tl_jax.tooluse.secret_kinds` has the forms.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeAlias

from tl_jax.tooluse import secret_kinds as kinds
from tl_jax.tooluse.schema import DataError

MASK = "***"
_MAX_DEPTH = 100
Span: TypeAlias = tuple[int, int]


def mask(value: Any) -> tuple[Any, int]:
    """A JSON value without secrets, and how many there were; names of fields never change.

    Raises:
        DataError: the value is nested more than 100 deep.
    """
    total = 0
    while True:  # what is left beside a secret that is gone may be one by itself
        value, count = _once(value)
        if not count:
            return value, total
        total += count


def _once(value: Any) -> tuple[Any, int]:
    """The value without the secrets that it shows now, and how many there were; 0 if it is the same afterwards."""
    found: set[str] = set()
    masked, count = _walk(value, lambda name, text: _masked(text, _spans(text, name), found))
    if repeated := {secret for secret in found if _is_repeatable(secret)}:
        masked, more = _walk(masked, lambda name, text: _without(text, repeated))
        count += more
    return masked, count if masked != value else 0


def mask_text(text: str) -> tuple[str, int]:
    """A text without secrets, and how many there were.

    Example:
        >>> mask_text("postgres://app:" + "s3cr3t-77" + "@db/shop")
        ('postgres://app:***@db/shop', 1)
        >>> mask_text("page_token=" + "Zm9vYmFyMTIz" * 3)[1]
        0
    """
    masked, count = mask([text])
    return masked[0], count


def replace_all(value: Any, secrets: Iterable[str]) -> tuple[Any, int]:
    """A JSON value with every occurrence of known secrets masked, and how many there were; raises as `mask` does."""
    known = sorted(secrets, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, known)))
    return _walk(value, lambda name, text: pattern.subn(MASK, text)) if known else (value, 0)


def _walk(value: Any, change: Callable[[str, str], tuple[str, int]], name: str = "", depth: int = 0) -> tuple[Any, int]:
    """The value with ``change(name of the innermost field, text)`` for every text, and the sum of its counts."""
    if depth > _MAX_DEPTH:
        raise DataError("is nested too deeply")
    match value:
        case str():
            return change(name, value)
        case list():
            made = [_walk(item, change, name, depth + 1) for item in value]
            return [item for item, _ in made], sum(count for _, count in made)
        case dict():
            pairs = {key: _walk(item, change, str(key), depth + 1) for key, item in value.items()}
            return {key: item for key, (item, _) in pairs.items()}, sum(count for _, count in pairs.values())
    return value, 0


def _masked(text: str, spans: Iterable[Span], found: set[str]) -> tuple[str, int]:
    """The text with ``***`` for every stretch of overlapping spans; the values go to ``found``."""
    pieces, end, count = [], 0, 0
    for start, stop in sorted(spans):
        found.add(text[start:stop])
        if count and start < end:
            end = max(end, stop)
            continue
        pieces += [text[end:start], MASK]
        end, count = stop, count + 1
    return "".join(pieces) + text[end:], count


def _spans(text: str, name: str) -> Iterator[Span]:
    """Where the secrets of a text are; ``name`` is that of its field."""
    if _is_named_secret(name, text):
        yield 0, len(text)
        return
    for match in kinds.FORM.finditer(text):
        yield match.span()
    for pattern, is_secret in _IN_CONTEXT:
        for match in pattern.finditer(text):
            if is_secret(match):
                start, stop = match.span("value")
                yield start, start + len(match["value"].rstrip(".")) if stop > start else stop


def _is_named_secret(name: str, text: str) -> bool:
    """Whether the text of a field is a secret because of the field's name and its own randomness."""
    last = _NAME.search(name) if len(text) <= 4096 else None
    return last is not None and re.fullmatch(kinds.VALUE, text) is not None and _is_named(last[0], text)


_NAME = re.compile(rf"(?:{kinds.KEY_NAME}|{kinds.TOKEN_NAME})$", re.IGNORECASE)
_KEY = re.compile(kinds.KEY_NAME, re.IGNORECASE)
_PLACEHOLDER = re.compile(r"your|example|placeholder|dummy|sample|insert|changeme|redacted|xxxx", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.IGNORECASE)
_PATH = re.compile(r"(?:\.{0,2}|~|[A-Za-z]:)/.*|.*\.[A-Za-z]\w{0,4}", re.DOTALL)
_HEX = re.compile(r"[0-9a-f]{32,}|[0-9A-F]{32,}")


def _is_named(name: str, value: str) -> bool:
    """Whether a value after the name of a key (``api_key``) or token (``access_token``) is a secret."""
    if _KEY.fullmatch(name):
        return _is_random(value, 20)
    classes = all(re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return _is_random(value, 24) and not _UUID.fullmatch(value) and (classes or _HEX.fullmatch(value) is not None)


def _is_random(value: str, least: int) -> bool:
    """Whether a value of letters and digits is neither words, a path, an address nor a place to put a secret."""
    if len(value) < least or not re.search("[0-9]", value) or not re.search("[A-Za-z]", value):
        return False
    if _PLACEHOLDER.search(value) or _ADDRESS.fullmatch(value):
        return False
    if len(value) != 40 and not re.search("[+=]", value) and _PATH.fullmatch(value):  # 40: AWS; "/" is base64 as well
        return False
    parts = re.split(r"[-_./]", value)
    return len(parts) == 1 or not all(re.fullmatch(r"[A-Za-z]*|[0-9]{0,8}|v[0-9]", part) for part in parts)


def _is_password(match: re.Match[str]) -> bool:
    """Whether it has letters and digits and is no variable; in quotes it may be an argument, and has to be strong."""
    value = match["value"]
    classes = [re.search(kind, value) for kind in ("[a-z]", "[A-Z]", "[0-9]", r"[^\w\s]")]
    if not classes[2] or not (classes[0] or classes[1]) or _PLACEHOLDER.search(value) or "$" in value[:1]:
        return False
    if match["quote"]:
        return len(value) >= 10 and sum(map(bool, classes)) >= 3
    return not re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value)


def _is_query_secret(match: re.Match[str]) -> bool:
    return _is_random(match["value"], 12) and not _UUID.fullmatch(match["value"])


def _is_basic(match: re.Match[str]) -> bool:
    """Whether it is a user and a password in base64."""
    value = match["value"]
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        return False


_IN_CONTEXT: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    (kinds.PRIVATE_KEY, lambda match: True),
    (kinds.URL_PASSWORD, lambda match: "$" not in match["value"]),
    (kinds.BEARER, lambda match: _is_random(match["value"], 16)),
    (kinds.BASIC, _is_basic),
    (kinds.PASSWORD, _is_password),
    (kinds.NAMED, lambda match: _is_named(match["name"], match["value"].rstrip("."))),
    (kinds.QUERY, _is_query_secret),
)


def _is_repeatable(secret: str) -> bool:
    """Whether a secret says nothing else where it stands alone: long enough, and no word or number."""
    return 8 <= len(secret) <= 256 and bool(re.search("[0-9]", secret) and re.search("[^0-9]", secret))


_START = re.compile(r"(?<![A-Za-z0-9])[^\s*]")


def _without(text: str, secrets: Collection[str]) -> tuple[str, int]:
    """The text with ``***`` for the secrets in it that are no part of a longer word; linear in the text."""
    lengths = sorted({len(secret) for secret in secrets}, reverse=True)
    spans, end = [], 0
    for match in _START.finditer(text):
        start = match.start()
        for length in lengths if start >= end else ():
            stop = start + length
            if text[start:stop] in secrets and not text[stop : stop + 1].isalnum():
                spans.append((start, stop))
                end = stop
                break
    return _masked(text, spans, set())
