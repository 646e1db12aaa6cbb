"""Commands whose help lists records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click


class ListingCommand(click.Command):
    """A command whose help ends with tables of records, as they are when it is shown.

    Args:
        tables: title -> name and description of each record.
    """

    def __init__(self, *args: Any, tables: Mapping[str, Callable[[], list[tuple[str, str]]]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._tables = tables

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in self._tables.items():
            with formatter.section(title):
                formatter.write_dl([(name, description.replace("`", "")) for name, description in rows()])
