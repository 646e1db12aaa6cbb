"""The JSON schema of a tool's parameters: which words it may use, and the shapes that data sets write it in."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from tl_jax.errors import DataError
from tl_jax.tooluse.fields import unknown

TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    NoneType: "null",
}
"""The JSON type of a value, by its class."""
SCHEMA = frozenset(
    (
        *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
        *("contains", "propertyNames", "contentSchema", "not", "if", "then", "else"),
    )
)
"""Words whose value is a schema."""
SCHEMAS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
"""Words whose value is a list of schemas."""
NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
"""Words whose value is an object of schemas by name."""
_OTHER = (
    *("type", "enum", "const", "required", "dependentRequired", "dependencies", "format", "pattern"),
    *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties"),
    *("contentEncoding", "contentMediaType", "title", "description", "default", "examples", "deprecated"),
    *("readOnly", "writeOnly", "$ref", "$schema", "$id", "id", "$anchor", "$comment", "$vocabulary"),
    *("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"),
)
"""The rest of JSON Schema, draft 3 to 2020-12."""
_OPENAPI = ("nullable", "example", "discriminator", "xml", "externalDocs", "propertyOrdering", "allowEmptyValue")
_DATA_SETS = ("optional", "example_value", "strict")
"""``optional`` and ``example_value`` are ToolBench's; OpenAI's ``strict`` stands beside a schema or in it."""
VOCABULARY = frozenset((*SCHEMA, *SCHEMAS, *NAMED, *_OTHER, *_OPENAPI, *_DATA_SETS))
"""Every word that a schema may use; words that begin with ``x-`` may be used as well."""
_NESTED = SCHEMA | SCHEMAS | NAMED | {"items"}
"""Words whose values hold schemas."""
_NO_PARAMETERS = (
    SCHEMA | NAMED | {"default", "const", "example", "discriminator", "xml", "externalDocs", "dependencies"}
)
"""Words whose values are objects, and which are names of parameters only beside others."""
_MAX_DEPTH = 100
_SAID: Mapping[bool, dict[str, Any]] = {True: {}, False: {"not": {}}}
"""What ``true`` (anything) and ``false`` (nothing) say in place of a schema."""


def checked(schema: Any, where: str, depth: int = 0) -> Mapping[str, Any]:
    """The schema, with ``required: true`` inside a property (draft 3) as the list ``required`` around it.

    Null values count as absent, except for the value of ``default``, ``const`` and ``example``.

    Raises:
        DataError: a word outside of `VOCABULARY`, or a value that no schema may have.
    """
    if not isinstance(schema, dict):
        raise DataError(f"must be a JSON object, not {type(schema).__name__}", field=where)
    if depth > _MAX_DEPTH:
        raise DataError("is nested too deeply", field=where)
    result: dict[str, Any] = {}
    for word, value in schema.items():
        if value is None and word not in ("default", "const", "example"):
            continue
        if word not in VOCABULARY and not word.startswith("x-"):
            unknown(f"{where}.{word}", word, sorted(VOCABULARY))
            continue
        result[word] = _value(word, value, f"{where}.{word}", depth) if word in _NESTED else value
    if "properties" in result or "required" in result:
        _move_required(result, f"{where}.required")
    if depth == 0 and isinstance(result.get("required"), bool):
        raise DataError("must be a list of parameter names", field=f"{where}.required")
    return result


def _value(word: str, value: Any, where: str, depth: int) -> Any:
    if word in NAMED:
        if not isinstance(value or {}, dict):
            raise DataError(f"must be a JSON object, not {type(value).__name__}", field=where)
        named = (
            (name, _SAID.get(item, item) if isinstance(item, bool) else item) for name, item in (value or {}).items()
        )
        return {name: checked(item, f"{where}.{name}", depth + 1) for name, item in named if item is not None}
    if word in SCHEMAS or (word == "items" and isinstance(value, list)):
        if not isinstance(value, list):
            raise DataError(f"must be a list of schemas, not {type(value).__name__}", field=where)
        return [_alternative(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]
    if word in SCHEMA:
        return _alternative(value, where, depth)
    return value


def _alternative(value: Any, where: str, depth: int) -> Any:
    """A schema where JSON Schema also allows ``true`` (anything) and ``false`` (nothing)."""
    return value if isinstance(value, bool) else checked(value, where, depth + 1)


def _move_required(schema: dict[str, Any], where: str) -> None:
    """Makes ``required`` the list of names that it is since draft 4."""
    properties = schema.get("properties", {})
    flags = {name: spec["required"] for name, spec in properties.items() if isinstance(spec.get("required"), bool)}
    if flags:
        schema["properties"] = {
            name: {word: value for word, value in spec.items() if word != "required"} if name in flags else spec
            for name, spec in properties.items()
        }
        names = [*schema["required"]] if isinstance(schema.get("required"), list) else []
        schema["required"] = [*names, *(name for name, flag in flags.items() if flag and name not in names)]
    required = schema.get("required", [])
    if isinstance(required, bool):  # of a property: whoever holds it moves it
        return
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise DataError("must be a list of parameter names", field=where)


def flat(parameters: Mapping[str, Any]) -> bool:
    """Whether these are parameters by name, and no schema with ``properties``.

    Example:
        >>> flat({"city": {"type": "string"}}), flat({"type": "object", "properties": {}}), flat({"type": "object"})
        (True, False, False)
    """
    specs = {name: value for name, value in parameters.items() if value is not None}
    return bool(specs.keys() - _NO_PARAMETERS) and all(isinstance(spec, dict) for spec in specs.values())
