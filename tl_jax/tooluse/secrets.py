"""Keys and tokens that do not belong into training data, replaced by ``***``.

Only what can hardly be anything else is touched: the forms that well-known services give their keys, and long random
values after a name such as ``api_key``. A session token that a simulated tool returns stays, for the calls after it
are about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from tl_jax.tooluse.schema import DataError

MASK = "***"
_MAX_DEPTH = 100

_FORMS = re.compile(
    r"""(?<![\w-])(?:
      sk-(?:[a-z]+-)*(?=\w*\d)\w{20,}[\w-]*            # OpenAI, Anthropic and others
    | (?:AKIA|ASIA)[A-Z0-9]{16}                        # AWS
    | gh[pousr]_\w{36,} | github_pat_\w{22,} | glpat-[\w-]{20,}
    | hf_[A-Za-z]{30,} | AIza[\w-]{35} | xox[abprs]-\d[\w-]{15,}
    | eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}         # JSON web token
    )(?![\w-])""",
    re.VERBOSE,
)
_KEY = r"[\w-]*?(?:api|access|secret|private|subscription|auth|app|client|license)[_-]?(?:key|secret)"
_TOKEN = r"(?:\w+[_-])??(?:(?:access|auth|api|bearer|refresh)[_-]?token|token|secret)|app[_-]?id|bearer"
_VALUE = r"[\w+/=.~-]+"
_NAMED = re.compile(
    rf"""(?<![\w-])(?P<name>{_KEY}|{_TOKEN})(?P<between>\\*["']?\s*[:=]\s*\\*["']?|(?<=bearer)\s+)(?P<value>{_VALUE})""",
    re.IGNORECASE,
)
_KEY_NAME, _TOKEN_NAME = re.compile(_KEY, re.IGNORECASE), re.compile(_TOKEN, re.IGNORECASE)


def mask(value: Any) -> tuple[Any, int]:
    """A JSON value without secrets, and how many there were; names of fields never change.

    Raises:
        DataError: the value is nested more than 100 deep.
    """
    return _walk(value, lambda name, text: (MASK, 1) if _is_secret(name, text) else mask_text(text))


def mask_text(text: str) -> tuple[str, int]:
    """A text without secrets, and how many there were."""
    count = 0

    def named(match: re.Match[str]) -> str:
        nonlocal count
        if not _is_secret(match["name"], match["value"]):
            return match[0]
        count += 1
        return match["name"] + match["between"] + MASK

    text, forms = _FORMS.subn(MASK, text)
    return _NAMED.sub(named, text), count + forms


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


def _is_secret(name: str, value: str) -> bool:
    """Whether a value under this name is too random to be anything but a secret."""
    if not re.fullmatch(_VALUE, value):
        return False
    classes = [bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", "[0-9]")]
    if _KEY_NAME.fullmatch(name):
        return len(value) >= 20 and classes[2] and (classes[0] or classes[1])
    if _TOKEN_NAME.fullmatch(name):
        is_hex = bool(re.fullmatch(r"[0-9a-f]{32,}|[0-9A-F]{32,}", value)) and classes[2] and (classes[0] or classes[1])
        return is_hex or (len(value) >= 24 and all(classes))
    return False
