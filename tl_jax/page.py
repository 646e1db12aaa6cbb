"""HTML pages that need no other file, no network and no script, and in which text from outside stays text."""

from __future__ import annotations

from html import escape

from tl_jax.visible import visible


def page(title: str, style: str, body: str) -> str:
    """A page.

    Args:
        title: any text.
        style: CSS.
        body: HTML, in which all text from outside has gone through `text`.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{text(title)}</title>\n'
        f"<style>{style}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def text(value: str) -> str:
    """Any text as HTML that shows it: no markup, and what would change how the rest is shown is spelt out.

    Example:
        >>> text("<b>" + chr(27))
        '&lt;b&gt;\\\\u{1b}'
    """
    return escape(visible(value))
