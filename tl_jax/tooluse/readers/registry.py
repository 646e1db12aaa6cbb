"""Every format by its name, finding out which one a file is in, and reading a file of any of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, TypeVar

from tl_jax.errors import UserError
from tl_jax.registry import Registry, suggestion
from tl_jax.tooluse.fields import refuse_preferences
from tl_jax.tooluse.mae.apply import right_calls
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.format import Format
from tl_jax.tooluse.readers.rows import OnError, Reader, Report, first_row, first_rows
from tl_jax.tooluse.schema import Case, DataError, Trajectory

T = TypeVar("T")

_LOOKED_AT = 20
"""Rows that tell the format of a file."""
_MODULES = (
    "canonical",  # a list of messages
    "openai",  # ... in the shape that only OpenAI's API writes
    "nemotron",  # ... and beside what only NVIDIA says
    "hermes",  # ... with calls as text
    "llamafactory",  # ... of parts with a value
    "anthropic",  # ... of blocks
    "bedrock",  # ... by name
    "llamaindex",  # ... by block_type
    "haystack",  # ... or parts by name
    "ai_sdk",  # ... or parts, in steps
    "pydantic_ai",  # ... by part_kind
    "langchain",  # ... by type instead of role
    "swift",  # ... with calls as messages of their own
    "tau2",  # ... of which some are the user's own calls
    "toucan",  # ... as text
    "tl",  # conversations after a list of tools
    "sharegpt",  # ... of {from, value}
    "toolace",  # ... beside a system text that lists tools
    "rotbench",  # ... whose system prompt lists tools
    "tooleyes",  # ... and that say where the tools are
    "toolbench",  # ... or APIs, which are called by Thought, Action and Action Input
    "verifiers",  # a prompt, and its completion
    "toolrl",  # ... or its right answer in tags
    "gemini",  # fields that no other format has, from here on
    "responses",
    "cohere",
    "glaive",
    "xlam",
    "bfcl",
    "bfcl_v4",
    "apibank",
    "tooltalk",
    "tau_bench",
    "toolalpaca",
)
"""The files of this package that are formats, each with its record ``FORMAT``.

From the most general one to the most specific: a later format is asked first whether it recognises a file.
"""

FORMATS: Registry[Format] = Registry(
    "format",
    [import_module(f"{__package__}.{module}").FORMAT for module in _MODULES],
    columns={
        "name": lambda format: f"[`{format.name}`]({format.source})" if format.source else f"`{format.name}`",
        "holds": lambda format: format.holds,
        "`--to`": lambda format: "yes" if format.write else "",
        "what is read": lambda format: format.description,
    },
)
"""Every format. ``FORMATS.add(Format(...))`` makes one of your own known, and prefers it where it recognises a file."""


def read_trajectories(
    path: str | Path,
    format: str = "auto",
    on_error: OnError = "raise",
    report: Report | None = None,
    notes: Notes | None = None,
) -> Iterator[Trajectory]:
    """The trajectories of a file, one after another.

    Args:
        path: JSON lines, a JSON list or one object, compressed by gzip or not; a Parquet or Arrow file; or a folder
            that ``save_to_disk`` of `datasets` wrote, of whose splits ``train`` is read.
        format: a name in `FORMATS`, or "auto".
        on_error: "skip" leaves bad rows out and hands each error to ``report``, which is then required.
        notes: what becomes of unknown fields, and where it is counted. None: as a `Notes.kept` around says, which is
            told about this file; else unknown fields are errors, and what else there is to say is logged.

    Raises:
        UserError: unknown format.
        DataError: a file that cannot be read, or of evaluation cases; while reading, the first bad row, with its place.
    """
    reporter, (_, read) = _reporter(on_error, report), trajectory_reader(path, format)
    return _noted(path, partial(read, Path(path), reporter), notes)


def trajectory_reader(path: str | Path, format: str = "auto") -> tuple[Format, Reader[Trajectory]]:
    """The format of a file of trajectories, and what reads it.

    Raises:
        UserError: unknown format.
        DataError: a file that cannot be read, or of evaluation cases.
    """
    known = _find(path, format)
    if known.trajectories is None:
        raise DataError(
            f"{known.name} files hold evaluation cases; there are no episodes in them to learn from", path=str(path)
        )
    return known, known.trajectories


def read_cases(
    path: str | Path,
    format: str = "auto",
    on_error: OnError = "raise",
    report: Report | None = None,
    notes: Notes | None = None,
    of_trajectory: Callable[[Trajectory], Iterable[Case]] = right_calls,
) -> Iterator[Case]:
    """The cases of a file; of a trajectory, which may stand among them, those that ``of_trajectory`` makes of it.

    The other args and errors are those of `read_trajectories`.
    """
    reporter, known = _reporter(on_error, report), _find(path, format)
    read = known.cases or known.trajectories
    assert read is not None
    return _noted(path, lambda: _as_cases(read(Path(path), reporter), of_trajectory), notes)


def _as_cases(
    items: Iterable[Case | Trajectory], of_trajectory: Callable[[Trajectory], Iterable[Case]]
) -> Iterator[Case]:
    for item in items:
        if isinstance(item, Case):
            yield item
        else:
            yield from of_trajectory(item)


def holds_cases(path: str | Path, format: str = "auto") -> bool:
    """Whether a file holds cases, and not trajectories: by its format or, where that has both, by its first row.

    Raises:
        UserError: unknown format.
        DataError: a file that cannot be read, or of no known format.
    """
    known = _find(path, format)
    if known.holds == "both":
        return known.is_case is not None and known.is_case(first_row(path)[1])
    return known.holds == "cases"


def is_companion(path: PurePath) -> bool:
    """Whether a file is one that a reader looks for beside others, such as gold answers, and no data by itself."""
    return any(format.is_companion(path) for format in FORMATS.values())


def detect_format(path: str | Path) -> str:
    """The name of a file's format, by its first rows: the most specific format that recognises one of them.

    A conversation without calls looks the same in many formats; a later one tells.

    Raises:
        DataError: an empty file, or a first row of no known format.
    """
    (place, row), *others = first_rows(path, _LOOKED_AT)
    try:
        refuse_preferences(row)
        _refuse_autogen(row)
    except DataError as error:
        raise place.locate(error) from None
    names = [*FORMATS]
    known = [format_of(item) for item in (row, *(item for _, item in others))]
    if known[0] is not None:
        return max((format.name for format in known if format is not None), key=names.index)
    there = next((name for name in ("messages", "conversations") if row.get(name) is not None), None)
    if there is None:
        problem = f'has neither "messages" nor "conversations": not a known format{_hint(row)}'
    else:
        problem = f"{there!r} is no list of messages: not a known format"
    raise place.locate(DataError(problem, field="row"))


def format_of(row: Mapping[str, Any]) -> Format | None:
    """The most specific format that recognises a row; None if none does."""
    return next((format for format in reversed([*FORMATS.values()]) if format.recognises(row)), None)


def _refuse_autogen(row: Mapping[str, Any]) -> None:
    """Says of AutoGen's messages, which are none by ``role``, what to do.

    Raises:
        DataError: the row has some.
    """
    messages = row.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, dict) and {"source", "type"} <= first.keys() and "role" not in first:
        problem = "is a message of AutoGen's, which are not read; write it with its role, and calls as tool_calls"
        raise DataError(problem, field="messages[0]")


def _hint(row: Mapping[str, Any]) -> str:
    """Where a row of no known format may have its messages, or which fields it has."""
    if str(row.get("object")).startswith("thread."):
        return "; it is of a thread of OpenAI's Assistants: write the thread as messages, calls as their tool_calls"
    if {"role", "from"} & row.keys():
        return '; it is one message, and a row is a whole conversation: {"messages": [...]}'
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else value
        if not isinstance(first, dict):
            continue
        if isinstance(value, list) and {"role", "from"} & first.keys():
            return f"; {name!r} holds messages: call it 'messages'"
        if inside := next((key for key in ("messages", "conversations", "row") if key in first), None):
            each = f"each item of {name!r}" if isinstance(value, list) else repr(name)
            return f"; {each} has {inside!r}: write it as a row of its own"
    return f"; it has {', '.join(list(row)[:10])}" if row else ""


def _noted(path: str | Path, read: Callable[[], Iterator[T]], notes: Notes | None) -> Iterator[T]:
    """What ``read`` gives, with everything there is to say about it noted or, where nobody takes notes, logged."""
    if notes is not None:
        yield from notes.during(read)
        return
    around = Notes.current()
    notes = Notes(around.unknown if around else "error")
    try:
        yield from notes.during(read)
    finally:
        if around is not None:
            around.files[str(path)] = notes
        else:
            for line in notes.lines():
                logging.getLogger(__name__).warning("%s: %s", path, line)


def _find(path: str | Path, name: str) -> Format:
    if name == "auto":
        name = detect_format(path)
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}; {suggestion(name, ('auto', *FORMATS))}")
    return FORMATS[name]


def _reporter(on_error: OnError, report: Report | None) -> Report | None:
    if on_error not in ("raise", "skip") or (on_error == "skip" and report is None):
        raise ValueError("on_error is 'raise', or 'skip' together with a report function")
    return report if on_error == "skip" else None
