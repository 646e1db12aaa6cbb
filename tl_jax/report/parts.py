"""What sections of the page are made of."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonpath

from tl_jax.page import text

LONG = 2000
"""Characters of an answer, a setting or a line that are shown."""


def short_names(names: Sequence[str]) -> list[str]:
    """Different paths without the folders that all have in common, different, too."""
    if len(names) < 2:
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    try:
        shared = commonpath(names)
    except ValueError:  # some from the root, some not
        return list(names)
    return [name.removeprefix(shared).lstrip("/") or f"{name}/" for name in names]


def charts(heading: str, drawn: Sequence[str]) -> str:
    """A section of charts; nothing where there is none."""
    body = "".join(drawn)
    return f'<h2>{text(heading)}</h2>\n<div class="charts">\n{body}</div>' if body else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of any texts, which scrolls where it is too wide."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in cells)

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{line("th", heads)}</tr>\n{body}</table></div>'
