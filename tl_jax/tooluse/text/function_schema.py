"""Python functions as tools: the schema comes from the signature, the descriptions from the docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tl_jax.errors import UserError
from tl_jax.tooluse.json_schema import TYPES
from tl_jax.tooluse.schema import Tool

_ENTRY = re.compile(r"(\s+)(\w+)\s*(?:\(.*?\))?:\s*(.*)")
"""``    city (str): Where it rains.`` in a docstring."""


def tool_schema(function: Callable[..., Any]) -> Tool:
    """The function as a tool.

    Types may be str, int, float, bool, list, list[X], dict, Literal[...] and X | None; a parameter with a default is
    optional. The description is the first paragraph of the docstring, and those of the parameters stand in its
    section ``Args:``, in Google's style.

    Raises:
        UserError: a parameter that a JSON object of arguments cannot fill (``*args``, ``**kwargs``, positional-only),
            one without a type or with another one, or a type that is not defined.
    """
    name = function.__name__
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise UserError(f"{name}(): a type cannot be looked up: {error}") from None
    description, described = _documented(inspect.getdoc(function) or "")
    properties, required = {}, []
    for parameter in inspect.signature(function).parameters.values():
        where = f"{name}(): parameter {parameter.name!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UserError(
                f"{where} is {parameter.kind.description}; a tool's arguments are given by name, one by one"
            )
        if parameter.name not in hints:
            raise UserError(f"{where} has no type")
        spec = _json_schema(hints[parameter.name], where)
        if text := described.get(parameter.name):
            spec["description"] = text
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            spec["default"] = parameter.default
        properties[parameter.name] = spec
    return Tool(name, description, {"type": "object", "properties": properties, "required": required})


def _json_schema(hint: Any, where: str) -> dict[str, Any]:
    """The JSON schema of a type."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Literal and all(type(value) in TYPES for value in arguments):
        kinds = list(dict.fromkeys(TYPES[type(value)] for value in arguments))
        return {"type": kinds if len(kinds) > 1 else kinds[0], "enum": list(arguments)}
    if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        (other,) = (argument for argument in arguments if argument is not NoneType)
        schema = _json_schema(other, where)
        nullable = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {**schema, **nullable, "type": [*kinds, "null"]}
    if origin is list and arguments:
        return {"type": "array", "items": _json_schema(arguments[0], where)}
    if isinstance(origin, type) and origin in TYPES:
        return {"type": TYPES[origin]}
    known = "str, int, float, bool, list[X], dict, Literal[...] and X | None"
    raise UserError(f"{where} has the type {inspect.formatannotation(hint)}; a tool's types are {known}")


def _documented(docstring: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what ``Args:`` says of each parameter."""
    text, _, section = f"\n{docstring}\n".partition("\nArgs:\n")
    described: dict[str, str] = {}
    indent = name = ""
    for line in section.splitlines():
        if line.strip() and not line[0].isspace():
            break  # the next section
        entry = _ENTRY.fullmatch(line)
        if entry and entry[1] == (indent or entry[1]):
            indent, name, described[entry[2]] = entry[1], entry[2], entry[3]
        elif name:
            described[name] += f" {line}"
    first, *_ = text.strip().split("\n\n")
    return _one_line(first), {name: _one_line(words) for name, words in described.items()}


def _one_line(text: str) -> str:
    return " ".join(text.split())
