"""Tool results written in tags: ``<tool_response>...</tool_response>``, ``<returncode>2</returncode>``, XML."""

from __future__ import annotations

import re
from typing import Any

_OPENING = re.compile(r"\s*<([A-Za-z_][\w:.-]{0,60})((?:\s[^<>]{0,500})?)>|\s*<([A-Za-z_][\w:.-]{0,60})\s?/>")
_PROLOGUE = re.compile(r"\s*<\?xml[^>]{0,200}>")
_FLAG = re.compile(r"""\b(is_?error|has_?error|status|success|ok)\s*=\s*["']([^"']{0,40})["']""", re.IGNORECASE)
_PARTS = ("response", "result", "results", "output")
_MOST = 50
"""A text of more elements beside each other is a document."""
_WRAPPERS = (
    frozenset(f"{what}_{part}" for what in ("tool", "function") for part in _PARTS)
    | {"results"}
    | {
        "p",
        "h1",
        "h2",
        "pre",
        "div",
        "span",
        "body",
    }
)
"""Elements that only hold a result or its text."""


def elements(text: str) -> dict[str, Any] | None:
    """The elements that a text consists of, by name; None for a text that is no sequence of elements.

    The elements of a name that is repeated are a list. An element that only wraps a result is called ``content``;
    attributes that tell success from failure are fields too.

    Example:
        >>> elements("<returncode>2</returncode> <output>no such file</output>")
        {'returncode': '2', 'output': 'no such file'}
        >>> elements('<tool_result is_error="true">7</tool_result>')
        {'is_error': True, 'content': '7'}
        >>> elements("a < b") is None
        True
    """
    found: dict[str, Any] = {}
    start = _PROLOGUE.match(text)
    at = start.end() if start else 0
    for _ in range(_MOST):
        match = _OPENING.match(text, at)
        if match is None:
            break
        name, attributes, content, at = match[1] or match[3], match[2] or "", "", match.end()
        if name.lower() == "html":
            return None
        if match[1] and not attributes.endswith("/"):
            end = text.find(f"</{name}>", at)
            if end < 0:
                return None
            content, at = text[at:end], end + len(name) + 3
        for flag, value in _FLAG.findall(attributes):
            found[flag] = {"true": True, "false": False}.get(value.lower(), value)
        name = "content" if name.lower() in _WRAPPERS else name
        found[name] = _with(found[name], content) if name in found else content
    return found if found and not text[at:].strip() else None


def _with(present: Any, content: str) -> list[Any]:
    return [*present, content] if isinstance(present, list) else [present, content]
