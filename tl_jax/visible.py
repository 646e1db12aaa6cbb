"""Text from outside, as it may be shown: nothing in it changes how the rest is shown."""

from __future__ import annotations

import re
import unicodedata

_BREAKS = re.compile(r"[\n\r\t\v\f]+ *")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode: control and format characters, halves of surrogate pairs, what has no meaning, separators."""


def visible(text: str) -> str:
    """``text`` with every character that could change how the rest is shown (escape codes, bidi marks) spelt out.

    Line breaks and tabs stay.

    Example:
        >>> visible("a" + chr(27) + "[31mb")
        'a\\\\u{1b}[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _UNSEEN else f"\\u{{{ord(c):x}}}" for c in text)


def is_unicode(text: str) -> bool:
    """Whether it holds no half of a surrogate pair, which no file and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_one_line(text: str) -> str:
    """`visible`, and line breaks and tabs are blanks.

    Example:
        >>> in_one_line("not JSON:\\n  line 2")
        'not JSON: line 2'
    """
    return visible(_BREAKS.sub(" ", text))
