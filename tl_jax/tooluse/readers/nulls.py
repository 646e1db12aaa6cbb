"""Nulls that nobody wrote: tables give every call all arguments that any call of theirs has, and fill them with null.

The `datasets` library does so in memory, in Arrow and Parquet files and in JSON lines that it writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tl_jax.tooluse.notes import remark
from tl_jax.tooluse.schema import Tool

DROPPED = "null argument dropped: no argument, but how a table writes that there is none"
DROPPED_OF_A_RESULT = "nulls dropped from a result: how a table writes that there is none"

_IN_TABLE: ContextVar[bool] = ContextVar("in_table", default=False)


@contextmanager
def in_table() -> Iterator[None]:
    """What is read inside comes out of a table."""
    token = _IN_TABLE.set(True)
    try:
        yield
    finally:
        _IN_TABLE.reset(token)


def is_padded(messages: Any) -> bool:
    """Whether a table wrote these messages: it gives them nulls where people leave a field out.

    ``content`` is null beside calls in OpenAI's own files, and proves nothing.
    """
    values = messages if isinstance(messages, list) else []
    rows = (value for value in values if isinstance(value, dict))
    return _IN_TABLE.get() or any(item is None and key != "content" for row in rows for key, item in row.items())


def without_padding(arguments: dict[str, Any], tool: Tool | None, padded: bool) -> dict[str, Any]:
    """The arguments of a call without the nulls that a table put there.

    The tool's schema decides: a null stays where the parameter is required or may be null, and goes where there is no
    such parameter or it is something else. Where the schema does not tell, a null goes if the row is ``padded``.
    """
    return _cleaned(arguments, tool.parameters if tool else None, padded, top=tool is not None)


def _cleaned(value: Mapping[str, Any], schema: Any, padded: bool, top: bool = False) -> dict[str, Any]:
    schema = schema if isinstance(schema, Mapping) else {}
    properties = schema.get("properties")
    listed = properties if isinstance(properties, Mapping) else {}
    known = bool(listed) or (top and not schema.get("additionalProperties"))
    result = {}
    for name, item in value.items():
        spec = listed.get(name)
        if item is not None:
            result[name] = _inside(item, spec, padded)
        elif _stays(name, spec, schema, known, padded):
            result[name] = None
        else:
            remark(DROPPED)
    return result


def _stays(name: str, spec: Any, schema: Mapping[str, Any], known: bool, padded: bool) -> bool:
    if spec is None:
        return not known and not padded
    if name in (schema.get("required") or ()):
        return True
    may_be = admits_null(spec)
    return not padded if may_be is None else may_be


def _inside(item: Any, spec: Any, padded: bool) -> Any:
    if isinstance(item, dict):
        return _cleaned(item, spec, padded)
    if isinstance(item, list):
        items = spec.get("items") if isinstance(spec, Mapping) else None
        return [_inside(element, items, padded) for element in item]
    return item


def admits_null(spec: Mapping[str, Any]) -> bool | None:
    """Whether a value may be null by its schema; None where the schema does not tell.

    Example:
        >>> [admits_null(spec) for spec in ({"type": ["string", "null"]}, {"type": "string"}, {"$ref": "#/$defs/x"})]
        [True, False, None]
    """
    if spec.get("nullable") is True:
        return True
    for word in ("anyOf", "oneOf"):
        if isinstance(spec.get(word), list):
            found = [admits_null(item) for item in spec[word] if isinstance(item, Mapping)]
            return True if True in found else None if None in found else False
    if isinstance(spec.get("enum"), list):
        return None in spec["enum"]
    kind = spec.get("type")
    if isinstance(kind, (str, list)) and kind and kind != "any":
        return kind == "null" or "null" in kind
    return None


def without_nulls(value: Any) -> Any:
    """The value without the fields that are null, at every depth."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def result_without_padding(value: Any, padded: bool) -> Any:
    """What a tool said, without nulls at any depth if its row is ``padded``: no schema tells which ones it said."""
    cleaned = without_nulls(value) if padded else value
    if cleaned != value:
        remark(DROPPED_OF_A_RESULT)
    return cleaned
