"""The released rule of MAE, bug for bug, so that figures can be compared; docs/mae.md says what is wrong with it.

It works on the message after a turn: one of 14 cues in a tool message is an error, and so is any message that is not a
tool's. Only letters, digits, Chinese characters and, by accident, "^" are compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tl_jax.tooluse.mae.finding import Finder, Finding, Said, excerpt
from tl_jax.tooluse.mae.phrases import Category
from tl_jax.tooluse.schema import Call, Message

_CUES: tuple[tuple[str, Category], ...] = (
    ("is not defined", Category.TOOL_HALLUCINATION),
    ("positional argument", Category.MISSING_PARAMETER),
    ("unexpected keyword", Category.PARAMETER_HALLUCINATION),
    ("'related_searches'", Category.UNKNOWN_ERROR),
    ("ConnectionError", Category.ENVIRONMENT),
    ('"error":', Category.UNKNOWN_ERROR),
    ("not supported", Category.BAD_VALUE),
    ("Invalid API call", Category.BAD_VALUE),
    ("Response error", Category.ENVIRONMENT),
    ("Object of type SerpResults is not JSON serializable", Category.ENVIRONMENT),
    ("400 Client Error", Category.BAD_VALUE),
    ("'error'", Category.UNKNOWN_ERROR),
    ("slice indices must be integers or None or have an __index__ method", Category.BAD_VALUE),
    ("connection error", Category.ENVIRONMENT),
)
"""The released cues in their order. The categories are ours: the released code has none."""

_WHOSE = {"system": "a system", "user": "a user", "assistant": "an assistant"}


def in_result(result: str, said: Said = frozenset()) -> Finding | None:
    """The first cue that a result holds."""
    text = _reduced(result)
    for cue, category in _CUES:
        if _reduced(cue) in text:
            return Finding(category, f"cue {cue}", excerpt(result))
    return None


def in_turn(calls: Sequence[Call], results: Sequence[Message], following: Message | None) -> list[Finding]:
    """A cue in the next message, or a next message that is no tool's; the last message of all is kept."""
    if following is None:
        return []
    if following.role != "tool":
        followed_by = f"followed by {_WHOSE[following.role]} message"
        return [Finding(Category.UNKNOWN_ERROR, followed_by, excerpt(following.content))]
    finding = in_result(following.content)
    return [finding] if finding else []


FINDER = Finder(in_result, in_turn)


def _reduced(text: str) -> str:
    """The released code's character class. The inner carets are characters of it, so that "^" is kept as well."""
    return re.sub("[^\u4e00-\u9fa5^a-z^A-Z^0-9]", "", text).lower()
