"""What is printed. All of it goes through here, so that no text of a file, a model or a tool steers the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from tl_jax.addresses import with_addresses
from tl_jax.visible import in_one_line, visible


class SafeConsole(Console):
    """A console to which text is text: no markup in it, no emoji codes, and control characters are spelt out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, **settings, "markup": False, "emoji": False})

    def render_str(self, text: str, **settings: Any) -> Text:
        """A string as it is laid out, copies of what is in a bucket by their addresses; with its final length, so that
        tables fit."""
        return super().render_str(visible(with_addresses(text)), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What has come past `render_str`, a `Text` for instance, is caught here."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def say(text: str, *, err: bool = False) -> None:
    """One line for people, on stdout or stderr."""
    click.echo(in_one_line(with_addresses(text)), err=err)


def give(text: str) -> None:
    """A line for programs on stdout: as it is, but for people where that is a terminal."""
    click.echo(visible(text) if sys.stdout.isatty() else text)
