"""Types as data sets write them (``float``, ``str, optional``, ``List[int]``) as JSON schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tl_jax.tooluse.json_schema import TYPES
from tl_jax.tooluse.schema import DataError
from tl_jax.tooluse.schema_types import TYPE_WORDS

_TYPE = re.compile(r"(\w+)(?:[\[(](.*)[\])])?", re.DOTALL)
_OPTIONAL = re.compile(r"\boptional\b", re.IGNORECASE)
_MAX_DEPTH = 100


def json_type(written: str) -> dict[str, Any]:
    """``{"type": ...}`` of a type, with ``x-type`` for how it was written; no ``type`` where anything goes."""
    inner = _without_optional(written)
    match = _TYPE.fullmatch(inner.strip()) or _TYPE.fullmatch(_OPTIONAL.sub("", inner).strip(" ,."))
    kind = TYPE_WORDS.get(match[1].lower()) if match else None
    schema: dict[str, Any] = {"type": kind} if kind else {}
    if match and match[1].lower() in ("list", "array", "set") and match[2] and len(match[2]) < 100:
        items = json_type(match[2])
        items.pop("x-type", None)
        schema["items"] = items
    return schema if kind == written else schema | {"x-type": written}


def _without_optional(written: str) -> str:
    """What stands in ``Optional[...]``, however often that is said, but for more than 100 times."""
    for _ in range(_MAX_DEPTH):
        match = _TYPE.fullmatch(written.strip())
        if not match or match[1].lower() != "optional" or not match[2]:
            break
        written = match[2]
    return written


def is_optional(written: str) -> bool:
    """Whether a type says that its parameter may be left out."""
    return bool(_OPTIONAL.search(written))


def json_schema(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A schema whose types are Python's, as JSON schema; anything unknown stays as it is.

    Raises:
        DataError: it is nested more than 100 deep.
    """
    if depth > _MAX_DEPTH:
        raise DataError("is nested too deeply", field="parameters")
    result = dict(schema)
    if isinstance(schema.get("type"), str):
        result = {key: value for key, value in schema.items() if key != "type"}
        result = {**json_type(schema["type"]), **result}
    if isinstance(schema.get("properties"), Mapping):
        result["properties"] = {
            name: json_schema(spec, depth + 1) if isinstance(spec, Mapping) else spec
            for name, spec in schema["properties"].items()
        }
    if isinstance(schema.get("items"), Mapping):
        result["items"] = json_schema(schema["items"], depth + 1)
    return result


def from_value(value: Any) -> dict[str, Any]:
    """The schema of a parameter of which only a value is known."""
    return {"type": TYPES[type(value)]} if value is not None and type(value) in TYPES else {}
