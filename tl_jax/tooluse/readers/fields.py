"""Fields of foreign rows: what has to be there, and values that are written as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from tl_jax.tooluse.fields import Fields, left_out
from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.readers.nulls import result_without_padding, without_padding
from tl_jax.tooluse.readers.rows import parse
from tl_jax.tooluse.schema import DataError, Tool
from tl_jax.tooluse.text.literals import GivenTwice, python_literal

T = TypeVar("T")

ARGUMENTS = ("arguments", "args", "parameters", "input")
"""What the arguments of a call are called."""
BY_POSITION = "result matched with its call by position: ids are empty or repeated"

DESCRIPTIONS = (
    *("source", "dataset", "data_source", "origin", "subset", "split", "task", "domain", "category", "subcategory"),
    *("scenario", "scenario_category", "topic", "tags", "type", "difficulty", "level", "license"),
    *("language", "lang", "locale"),
    *("uuid", "source_id", "original_id", "index", "idx", "row_id", "item_id", "hash", "hash_id", "url", "version"),
    *("seed", "conversation_id", "session_id", "trace_id", "prompt_id", "__index_level_0__"),
    *("created", "created_at", "date", "timestamp", "author", "generator", "model", "model_name"),
    *("score", "scores", "quality", "rating", "num_turns", "turns", "num_tokens", "token_count"),
    *("parallel_tool_calls", "tool_choice", "temperature", "top_p", "max_tokens"),
)
"""Fields of rows that describe where they come from and what they are about, and teach nothing.

A reader keeps them in ``meta`` (`described`). What could be content, such as ``context`` or ``answer``, is not among
them, nor is anything inside a message, a call or a tool.
"""

_KINDS: dict[Any, str] = {str: "text", dict: "a JSON object", list: "a list"}


def identity(fields: Fields, *names: str) -> str | None:
    """The id of a call, or of the call that a message answers; None where there is none or it is empty.

    Raises:
        DataError: neither text nor a number.
    """
    value = fields.take(*names, default=None)
    if value is None:
        return None
    if value == "":
        remark(BY_POSITION)
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataError(f"must be text, not {type(value).__name__}", field=fields.taken)
    return str(value)


MEDIA = ("images", "image", "videos", "video", "audios", "audio")
"""Fields of rows for pictures and sounds."""


def described(row: Fields) -> dict[str, Any]:
    """Takes what describes a row, for its ``meta``, and empty lists of pictures and sounds.

    Raises:
        DataError: there are some, or turns of a conversation in a field that describes others.
    """
    for name, value in row.keep(*MEDIA).items():
        if value:
            left_out(row.at(name), "holds pictures or sounds, which are not read; leave the row out, or drop the field")
    found = row.keep(*DESCRIPTIONS)
    for name in [name for name, value in found.items() if _holds_turns(name, value)]:
        left_out(row.at(name), "holds turns of a conversation, which are read from messages and conversations")
        del found[name]
    return found


def _holds_turns(name: str, value: Any) -> bool:
    """Whether a field has a list of turns; those called so may be texts, as MT-Bench has its questions."""
    return isinstance(value, list) and (any(map(_is_turn, value)) or (name == "turns" and bool(value)))


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and ("role" in value or {"from", "value"} <= value.keys())


def member(row: Any, key: str, kind: type[T], where: str = "") -> T:
    """``row[key]``, where ``row`` is the field ``where`` (empty: the whole row).

    Raises:
        DataError: it is missing or of another kind.
    """
    field = f"{where}.{key}" if where else key
    if not isinstance(row, dict):
        raise DataError(f"must be a JSON object, not {type(row).__name__}", field=where or "row")
    value = row.get(key)
    if value is None:
        raise DataError("is missing", field=field)
    if not isinstance(value, kind):
        raise DataError(f"must be {_KINDS.get(kind, kind.__name__)}, not {type(value).__name__}", field=field)
    return value


def listed(row: Fields, key: str) -> list[Any]:
    """Takes a list, or the list that a text is.

    Raises:
        DataError: it is missing or anything else.
    """
    field, value = row.at(key), row.take(key)
    value = literal(value, field) if isinstance(value, str) else value
    if not isinstance(value, list):
        raise DataError(f"must be a list as JSON text, not {type(value).__name__}", field=field)
    return value


def literal(text: str, where: str) -> Any:
    """The JSON value in a text that is JSON or, as some data sets have it, a Python literal.

    Raises:
        DataError: it is neither.
    """
    try:
        return parse(text)
    except DataError as error:
        problem = error.problem
    try:
        return parse(json.dumps(python_literal(text.strip(), unique=True), allow_nan=False))
    except GivenTwice as error:
        raise DataError(str(error), field=where) from None
    except (ValueError, TypeError, RecursionError):
        raise DataError(f"is neither JSON nor a Python literal: {problem}", field=where) from None


def arguments(value: Any, where: str) -> dict[str, Any]:
    """The arguments of a call: an object, or an object written as text; an empty text is no arguments.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, str):
        value = literal(value, where) if value.strip() else {}
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
    return value


def call_arguments(
    call: Fields,
    tool: Tool | None,
    padded: bool | None,
    *names: str,
    read: Callable[[Any, str], dict[str, Any]] = arguments,
) -> dict[str, Any]:
    """Takes the arguments of a call, under one of these names; an object without the nulls that a table put there.

    Args:
        tool: the one that is called, if it is on offer.
        padded: a table wrote the row, see `nulls`; None: every null was meant, as in what was written as text.
        read: makes an object of the value.

    Raises:
        DataError: they are no object.
    """
    written = call.take(*names, default={})
    given = read(written, call.taken)
    return given if padded is None or isinstance(written, str) else without_padding(given, tool, padded)


def plain(value: Any, padded: bool = False) -> str:
    """A tool's result as the text of a message: text as it is, anything else as JSON.

    Args:
        padded: a table wrote the row: what is null in the result is what results beside it have.
    """
    value = result_without_padding(value, padded)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
