"""What a file format is: one record, which says everything about it that anything else needs to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

from tl_jax.tooluse.readers.rows import Convert, Reader
from tl_jax.tooluse.schema import Case, Trajectory

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Tells something about a row: a JSON object of any shape."""


@dataclass(frozen=True, slots=True)
class Writer:
    """How trajectories are written in a format.

    Args:
        row: a trajectory as a row. What the format cannot say it leaves out: `tl_jax.tooluse.writing` finds that out.
        read: the format's reader of a row.
    """

    row: Callable[[Trajectory], dict[str, Any]]
    read: Convert[Trajectory]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format. The tables of the documents, choices, validation and detection all come from these records.

    Args:
        name: what users write after ``--format``.
        description: for the documents: whose it is and what is read of it. Markdown.
        recognises: whether a file's first row is of this format. Where several
            formats recognise a row, it is of the one that was added last to the registry.
        trajectories: reads recorded episodes; None where a file holds none.
        cases: reads questions with their gold answers, and trajectories that stand among them; None where a file holds
            none. The calls of trajectories are cases without that.
        is_case: for a format of both: whether a row is a case. None: rows are trajectories unless cases are wanted.
        is_companion: whether a path is that of a file which the readers look for beside others: it is no data itself.
        write: how trajectories are written in it; None: they are not.
        masks_keys: the reader replaces API keys in gold arguments by ``***``.
        source: where the format is described or used: a URL. Empty: here.
    """

    name: str
    description: str
    recognises: Predicate
    trajectories: Reader[Trajectory] | None = None
    cases: Reader[Case] | Reader[Case | Trajectory] | None = None
    is_case: Predicate | None = None
    is_companion: Callable[[PurePath], bool] = lambda path: False
    write: Writer | None = None
    masks_keys: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if self.trajectories is None and self.cases is None:
            raise ValueError(f"the format {self.name!r} reads neither trajectories nor cases")

    @property
    def holds(self) -> Literal["trajectories", "cases", "both"]:
        """What a file has for us."""
        if self.trajectories and self.cases:
            return "both"
        return "trajectories" if self.trajectories else "cases"


def has(*fields: str, without: str | None = None) -> Predicate:
    """Recognises rows that have all ``fields`` and lack the field ``without``.

    Example:
        >>> is_xlam = has("query", "answers", without="messages")
        >>> is_xlam({"query": "Hi", "answers": "[]"}), is_xlam({"query": "Hi", "answers": "[]", "messages": []})
        (True, False)
    """
    return lambda row: all(field in row for field in fields) and without not in row
